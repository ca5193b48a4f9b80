"""How fast each destination was, over time: averages, and a picture of them in SVG."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from pfndispatchcopy.report.contents import Contents, Sample

__all__ = ["Curve", "Throughput", "draw", "measure"]

_MOST_BARS = 120
# Of less there is nothing to be seen: the first rates of a file are those of its cache.
_LEAST_SECONDS = 2.0
_LEAST_SAMPLES = 8


class Curve(NamedTuple):
    """One phase of one destination.

    Attributes:
        rates: bytes a second, one for each step of time.
        seconds: how long it had anything to do.
        bytes: all together.
    """

    rates: tuple[float, ...]
    seconds: float
    bytes: int

    @property
    def average(self) -> float:
        """Bytes a second while it had anything to do."""
        return self.bytes / self.seconds if self.seconds > 0 else 0.0


class Throughput(NamedTuple):
    """All destinations.

    Attributes:
        step_s: seconds of one step.
        begins_s: when the first step begins, after the start of the run.
        copied, verified: one curve for each destination.
        failed_at_s: when a destination was lost, or None.
    """

    step_s: float
    begins_s: float
    copied: tuple[Curve, ...]
    verified: tuple[Curve, ...]
    failed_at_s: tuple[float | None, ...]

    @property
    def seconds(self) -> float:
        """From the first step to the end of the last one."""
        return self.step_s * max((len(curve.rates) for curve in (*self.copied, *self.verified)), default=0)


def measure(contents: Contents) -> Throughput | None:
    """Return how fast it was; None where the run was too short to tell."""
    samples = contents.samples
    if len(samples) < _LEAST_SAMPLES or samples[-1].at_s - samples[0].at_s < _LEAST_SECONDS:
        return None
    begins_s, seconds = samples[0].at_s, samples[-1].at_s - samples[0].at_s
    step_s = seconds / min(_MOST_BARS, len(samples) - 1)
    reads_back = contents.is_check or contents.options.get("verify") != "none"
    places = range(len(contents.places))
    nothing = Curve((), 0.0, 0)
    return Throughput(
        step_s,
        begins_s,
        tuple(
            nothing if contents.is_check else _curve(samples, [each.copied[at] for each in samples], step_s)
            for at in places
        ),
        tuple(
            _curve(samples, [each.verified[at] for each in samples], step_s) if reads_back else nothing for at in places
        ),
        tuple(next((each.at_s for each in samples if each.states[at] == "failed"), None) for at in places),
    )


def _curve(samples: Sequence[Sample], counts: Sequence[int], step_s: float) -> Curve:
    """Rates in equal steps, from counts at uneven moments: what was done between two of them was done evenly."""
    edges: list[float] = []
    begins_s = samples[0].at_s
    steps = round((samples[-1].at_s - begins_s) / step_s)
    at = 0
    for number in range(steps + 1):
        moment = begins_s + number * step_s
        while at < len(samples) - 2 and samples[at + 1].at_s < moment:
            at += 1
        width = samples[at + 1].at_s - samples[at].at_s
        share = min(1.0, max(0.0, (moment - samples[at].at_s) / width)) if width > 0 else 1.0
        edges.append(counts[at] + share * (counts[at + 1] - counts[at]))
    rates = tuple(max(0.0, (after - before) / step_s) for before, after in pairwise(edges))
    busy = sum(rate > 0 for rate in rates)
    return Curve(rates, busy * step_s, max(0, counts[-1] - counts[0]))


# -- the picture ------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT = 960, 104
_LEFT, _TOP, _BOTTOM = 64, 6, 18


class Picture(NamedTuple):
    """One panel: shapes as attributes of SVG elements, and where the labels stand."""

    width: int
    height: int
    left: int
    base: float
    copied: str
    verified: str
    lines: tuple[tuple[float, str], ...]
    ticks: tuple[tuple[float, str], ...]
    failed_x: float | None


def draw(found: Throughput) -> list[Picture]:
    """Return a panel for each destination, all on one scale."""
    most = max((rate for curve in (*found.copied, *found.verified) for rate in curve.rates), default=0.0)
    top = _round_up(most / 1e6)
    width, height = _WIDTH - _LEFT, _HEIGHT - _TOP - _BOTTOM
    base = float(_TOP + height)

    def y(rate: float) -> float:
        return round(base - height * rate / 1e6 / top, 1)

    def steps(curve: Curve) -> str:
        """The line of a curve, level within each step; nothing where there was nothing to do."""
        last = max((number for number, rate in enumerate(curve.rates) if rate > 0), default=-1)
        first = next((number for number, rate in enumerate(curve.rates) if rate > 0), 0)
        if last < 0:
            return ""
        unit = width / len(curve.rates)
        points = [
            f"V{y(curve.rates[number])}H{round(_LEFT + (number + 1) * unit, 1)}" for number in range(first, last + 1)
        ]
        return f"M{round(_LEFT + first * unit, 1)} {base}{''.join(points)}V{base}"

    lines = tuple((y(share * top * 1e6), f"{_figure(share * top)}") for share in (0.5, 1.0))
    seconds = found.seconds
    every = _tick(seconds)
    moments = [every * number for number in range(int(seconds / every) + 1)]
    ticks = tuple((round(_LEFT + width * at / seconds, 1), _clock(at)) for at in moments)
    return [
        Picture(
            _WIDTH,
            _HEIGHT,
            _LEFT,
            base,
            steps(copied),
            steps(verified),
            lines,
            ticks,
            None if lost is None else round(_LEFT + width * min(1.0, (lost - found.begins_s) / seconds), 1),
        )
        for copied, verified, lost in zip(found.copied, found.verified, found.failed_at_s, strict=True)
    ]


def _round_up(megabytes: float) -> float:
    """The next number with one digit that is 1, 2, 4, 5 or 8."""
    if megabytes <= 0:
        return 1.0
    scale = 1.0
    while scale * 10 <= megabytes:
        scale *= 10
    while scale > megabytes:
        scale /= 10
    return next(digit * scale for digit in (1, 2, 4, 5, 8, 10) if digit * scale >= megabytes)


def _figure(megabytes: float) -> str:
    return f"{megabytes:.0f}" if megabytes >= 10 or megabytes == int(megabytes) else f"{megabytes:.2g}"


def _tick(seconds: float) -> float:
    for every in (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600):
        if seconds / every <= 8:
            return every
    return 86400.0


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:g} s"
    minutes = int(seconds) // 60
    return f"{minutes // 60} h {minutes % 60:02d}" if minutes >= 60 else f"{minutes}:{int(seconds) % 60:02d}"
