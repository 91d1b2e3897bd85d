"""Trains a network from flags and data."""
