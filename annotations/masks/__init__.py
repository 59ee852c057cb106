"""Masks as Label Studio and the lock hold them, how far they agree, and damage on purpose."""
