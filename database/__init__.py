"""Datasets: file layouts, reading of images and labels, and colours for drawing label maps."""
