"""One file per paper: its printed values, its variants and its route through the stages."""
