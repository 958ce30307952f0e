"""Runs that wait, run, and are over, in a file that outlives the host's process."""
