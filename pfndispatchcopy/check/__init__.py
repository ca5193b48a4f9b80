"""Checking files against the hash lists that speak of them."""
