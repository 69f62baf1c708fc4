"""Chaudhry et al. 2017, class-specific pixels (DCSP)."""
