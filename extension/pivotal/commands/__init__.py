"""What the command line's commands do. Each is imported when it is chosen: `--help` and a wrong flag need none of it."""
