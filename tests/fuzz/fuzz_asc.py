"""Fuzz target: the reader of `pfndispatchcopy.hashlists.asc`."""

from tests.fuzz.driver import fuzz
from tests.fuzz.seeds import ASC

if __name__ == "__main__":
    fuzz("pfndispatchcopy.hashlists.asc", "read_asc", (), ASC)
