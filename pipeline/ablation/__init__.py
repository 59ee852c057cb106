"""What each part of the data is worth to SINet: `python -m pipeline ablate`."""
