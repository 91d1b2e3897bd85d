"""Writes a report on training runs as one HTML page."""
