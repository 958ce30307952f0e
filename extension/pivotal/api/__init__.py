"""The same over HTTP, for the page's scripts and for programs."""
