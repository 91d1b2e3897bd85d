"""Datasets: where their files lie, how images and labels are read, and how label maps are drawn."""
