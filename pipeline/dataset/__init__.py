"""What joins and parts the pictures of a dataset: clusters, equal pixels, licences, sides, take-downs."""
