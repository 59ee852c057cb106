"""The pages of browse and diff over many pictures: made, opened and scrolled."""
