"""Training: the loop, and what is measured beside it."""
