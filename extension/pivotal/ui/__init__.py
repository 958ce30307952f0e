"""The page: a form derived from the options, and a run's progress."""
