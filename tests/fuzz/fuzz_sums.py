"""Fuzz target: the reader of `pfndispatchcopy.hashlists.sums`."""

from tests.fuzz.driver import fuzz
from tests.fuzz.seeds import SUMS

if __name__ == "__main__":
    fuzz("pfndispatchcopy.hashlists.sums", "read_sums", (None,), SUMS)
