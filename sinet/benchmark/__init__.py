"""What prediction, training and the drawing of pictures cost on this machine, against the plain eager SINet."""
