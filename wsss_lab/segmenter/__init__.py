"""Stage 5: a network learns the pseudo-masks."""
