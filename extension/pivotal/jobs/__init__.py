"""Runs: checked, carried out in a thread of their own, and watched. The only room that knows all below it."""
