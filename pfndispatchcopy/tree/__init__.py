"""Offloads of folders, and of several sources at once."""
