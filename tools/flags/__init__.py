"""Parses command lines and configuration files into frozen dataclasses, and checks the flags."""
