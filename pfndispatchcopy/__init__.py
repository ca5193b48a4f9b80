"""Copy a file to several destinations at once and prove that every copy is good."""

__version__ = "0.1.0"
