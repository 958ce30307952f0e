"""The options of a run, each declared once; standard library only."""
