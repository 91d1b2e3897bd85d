"""Compares speed and memory with other implementations and engines: `python -m tools.benchmark`."""
