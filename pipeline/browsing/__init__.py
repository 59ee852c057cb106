"""One page a version of the data, to look at all of its pictures and masks: no server, no network."""
