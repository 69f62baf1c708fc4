"""Backbones, heads and the training loop; nothing here knows about a paper."""
