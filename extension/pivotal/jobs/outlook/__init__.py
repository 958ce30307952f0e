"""What a run will see and need: told before it starts."""
