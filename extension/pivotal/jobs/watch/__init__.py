"""A run as others see it: its view, its curves, its words."""
