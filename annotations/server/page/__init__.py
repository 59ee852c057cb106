"""What `make review` adds to the pages of its Label Studio, whose own Python runs it: scripts of clicks and views."""
