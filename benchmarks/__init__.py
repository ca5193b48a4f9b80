"""Measurements: ``compare`` against other tools, and one ``exp_*`` for each design question that a number decided."""
