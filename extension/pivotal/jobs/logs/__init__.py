"""A run on disk: its journal, its numbers, and the logs of others."""
