"""Paired, interleaved measurements: every variant once a round, in a new order each round.

A machine gets slower and faster while it is measured. So variants are never measured one after another,
and two of them are compared by the ratio within each round, of which the median counts.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

__all__ = ["Budget", "Ratio", "Samples", "interleave", "median_ratio", "ratio_of", "seconds_of"]

# Seconds by variant, one for each round, in the order of the rounds.
Samples = dict[str, list[float]]


class Budget:
    """Time that several measurements share, each as much of what is left as the others; None is without end."""

    def __init__(self, seconds: float | None) -> None:
        self._ends_at = None if seconds is None else perf_counter() + seconds

    def share(self, measurements: int) -> float | None:
        """Seconds for one of so many measurements that are still to come."""
        return None if self._ends_at is None else max(self._ends_at - perf_counter(), 0.0) / measurements


class Ratio(NamedTuple):
    """Ratios within the rounds: the median, the least and the most of them."""

    median: float
    least: float
    most: float


def seconds_of(call: Callable[[], Any]) -> float:
    """Seconds of wall time that *call* takes."""
    started_at = perf_counter()
    call()
    return perf_counter() - started_at


def interleave(
    variants: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 1, budget_s: float | None = None
) -> Samples:
    """Run every variant once in each round.

    Args:
        variants: by name, what makes one run and returns the seconds of the part that counts.
        rounds: that are kept.
        warm_up: rounds before them that are not.
        budget_s: seconds after which no further round is begun, nor one that would end later; one is kept always.
    """
    samples: Samples = {name: [] for name in variants}
    order = list(variants)
    started_at, longest = perf_counter(), 0.0
    for number in range(-warm_up, rounds):
        begun_at = perf_counter()
        if budget_s is not None and number > 0 and begun_at - started_at + longest > budget_s:
            break
        random.SystemRandom().shuffle(order)  # neighbours leave something behind: a warm cache, a busy disk
        for name in order:
            seconds = variants[name]()
            if number >= 0:
                samples[name].append(seconds)
        longest = max(longest, perf_counter() - begun_at)
    return samples


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """The ratios within the rounds; below 1 *ours* took less time."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return Ratio(median(ratios), min(ratios), max(ratios))


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios within the rounds; below 1 *ours* took less time."""
    return ratio_of(ours, theirs).median
