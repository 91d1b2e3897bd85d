"""Checkpoint files: find, read, compare with a graph, write, and initialize a network from them."""
