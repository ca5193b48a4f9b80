"""Paired, interleaved measurements: every variant once a round, in a new order each round.

A machine gets slower and faster while it is measured. So variants are never measured one after another,
and two of them are compared by the ratio within each round, of which the median counts.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Any

__all__ = ["Samples", "interleave", "median_ratio", "seconds_of"]

# Seconds by variant, one for each round, in the order of the rounds.
Samples = dict[str, list[float]]


def seconds_of(call: Callable[[], Any]) -> float:
    """Seconds of wall time that *call* takes."""
    started_at = perf_counter()
    call()
    return perf_counter() - started_at


def interleave(variants: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 1) -> Samples:
    """Run every variant once in each round.

    Args:
        variants: by name, what makes one run and returns the seconds of the part that counts.
        rounds: that are kept.
        warm_up: rounds before them that are not.
    """
    samples: Samples = {name: [] for name in variants}
    order = list(variants)
    for number in range(-warm_up, rounds):
        random.SystemRandom().shuffle(order)  # neighbours leave something behind: a warm cache, a busy disk
        for name in order:
            seconds = variants[name]()
            if number >= 0:
                samples[name].append(seconds)
    return samples


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios within the rounds; below 1 *ours* took less time."""
    return median(one / other for one, other in zip(ours, theirs, strict=True))
