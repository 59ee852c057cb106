"""SINet itself in plain torch: the paper's Table 2, its loss, its input, its weights file."""
