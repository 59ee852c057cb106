"""What joins and parts the pictures of a dataset: near-duplicates, equal pixels, licences, sides."""
