"""Fuzz target: the reader of `pfndispatchcopy.hashlists.legacy`."""

from tests.fuzz.driver import fuzz
from tests.fuzz.seeds import LEGACY

if __name__ == "__main__":
    fuzz("pfndispatchcopy.hashlists.legacy", "read_legacy", (), LEGACY)
