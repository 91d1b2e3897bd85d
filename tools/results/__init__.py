"""Lists the scores of all runs."""
