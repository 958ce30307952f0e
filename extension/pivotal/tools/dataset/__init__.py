"""What can be done with a dataset before a run: captions, checks, masks, and images cut to size."""
