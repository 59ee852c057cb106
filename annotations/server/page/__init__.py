"""What `make review` adds to the pages of its Label Studio, whose own Python runs it: the script of the clicks."""
