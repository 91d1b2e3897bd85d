"""Writes the network of a run in formats of other programs, and checks what it wrote against the session."""
