"""Checkpoint files: find, read, compare, write, initialize from."""
