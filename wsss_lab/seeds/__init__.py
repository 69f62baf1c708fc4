"""Stage 1: where is each class?"""
