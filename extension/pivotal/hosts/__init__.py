"""Whoever has a checkpoint loaded. The only room that knows a host's own modules."""
