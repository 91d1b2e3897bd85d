"""Converts weights of other projects to checkpoints of this package."""
