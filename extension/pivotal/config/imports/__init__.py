"""Settings of other trainers, read as options of ours; nothing of a file is dropped without a word."""
