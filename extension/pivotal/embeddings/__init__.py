"""Textual inversion: vectors that stand for a placeholder (Gal et al. 2022, arXiv:2208.01618)."""
