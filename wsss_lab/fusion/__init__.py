"""Stage 3: which pixel gets which tag?"""
