"""Starts the processes of a run on several hosts on one machine, watches them and starts them again."""
