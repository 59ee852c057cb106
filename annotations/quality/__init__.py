"""What the review costs and is worth, and in which order it asks."""
