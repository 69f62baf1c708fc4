"""Stage 2: what stands out?"""
