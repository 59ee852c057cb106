"""The metrics, the protocol that they belong to, and pictures of what went wrong."""
