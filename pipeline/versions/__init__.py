"""What changed between two versions of the data, and whether the later one is better."""
