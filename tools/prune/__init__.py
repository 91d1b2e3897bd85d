"""Removes filters of the network of a run, for another training that makes up for them."""
