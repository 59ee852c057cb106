"""What a task shows and says: the labelling page, the guidelines, what it is for."""
