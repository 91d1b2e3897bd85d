"""The virtual environment, and the audit of locked versions; used by the Makefile."""
