"""Trained networks that come with the package: `photos_networks.pth`, which `wsss weights` writes."""
