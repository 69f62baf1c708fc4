"""Oh et al. 2017, guided segmentation."""
