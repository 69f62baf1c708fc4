"""Lee et al. 2021, saliency as pseudo-pixel supervision (EPS)."""
