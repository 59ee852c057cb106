"""A version that others may rely on: gates that it must pass, cards that tell what it is, a tag."""
