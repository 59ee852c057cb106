"""Training SINet: the loop, its pictures and checkpoints, and what makes it quick on a CPU."""
