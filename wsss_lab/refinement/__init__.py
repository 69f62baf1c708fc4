"""Stage 4: borders that follow the image."""
