"""What joins and parts the pictures of a dataset: near-duplicates, labels, sides."""
