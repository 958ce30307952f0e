"""A small WebUI of our own for a machine that has none: a checkpoint, a prompt box, and the Train tab."""
