"""Command lines and configuration files: parsed once into frozen dataclasses, checked in one place."""
