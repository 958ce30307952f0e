"""The sections of a run's options, one file each."""
