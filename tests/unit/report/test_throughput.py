"""Speed over time: what was done in each step, whatever the moments at which it was told."""

from typing import Any

import pytest

from pfndispatchcopy.report.throughput import Throughput, draw, measure
from tests.support.report_trial import Told, demonstration


def _measured(told: Told, exit_code: int = 0) -> Throughput | None:
    with told.contents(exit_code) as contents:
        return measure(contents)


def _steady(seconds: int, **options: Any) -> Told:
    told = Told("/a", "/b", **options)
    for number in range(seconds + 1):
        told.sample(float(number), [number * 10**8, number * 10**8], [number * 5 * 10**7, 0])
    return told


def test_steady_copy_is_a_level_line() -> None:
    found = _measured(_steady(60))
    assert found is not None
    assert found.copied[0].rates == pytest.approx([1e8] * len(found.copied[0].rates))
    assert found.verified[0].average == pytest.approx(5e7)
    assert (found.copied[0].bytes, found.verified[1].bytes) == (6 * 10**9, 0)
    assert found.seconds == pytest.approx(60)


def test_all_bytes_are_in_the_steps_however_uneven_the_moments() -> None:
    told = Told("/a")
    at_s, done = 0.0, 0
    for number in range(500):
        told.sample(at_s, [done], [done // 2])
        at_s += 0.05 + (number * 7 % 13) / 10
        done += number * 7919 % 100_000
    found = _measured(told)
    assert found is not None
    for curve in (found.copied[0], found.verified[0]):
        assert sum(curve.rates) * found.step_s == pytest.approx(curve.bytes, rel=1e-6)
    assert len(found.copied[0].rates) <= 300


def test_what_was_done_before_this_run_has_no_speed() -> None:
    told = Told("/a")
    for number in range(20):
        told.sample(float(number), [5 * 10**12 + number * 10**6], [0])
    found = _measured(told)
    assert found is not None
    assert max(found.copied[0].rates) == pytest.approx(1e6)


@pytest.mark.parametrize("count", [0, 1, 5, 30])
def test_run_that_is_too_short_has_no_curve(count: int) -> None:
    told = Told("/a")
    for number in range(count):
        told.sample(number / 20, [number], [0])
    assert _measured(told) is None


def test_reading_back_has_no_curve_where_nothing_is_read_back() -> None:
    found = _measured(_steady(60, verify="none"))
    assert found is not None
    assert found.verified[0].rates == ()


def test_destination_that_fails_is_marked_where_it_did() -> None:
    told, exit_code, planned = demonstration()
    with told.contents(exit_code, planned) as contents:
        found = measure(contents)
        assert found is not None
        assert [at is not None for at in found.failed_at_s] == [False, False, True]
        pictures = draw(found)
    assert pictures[2].failed_x is not None
    assert pictures[0].left < pictures[2].failed_x < pictures[0].width
    assert {len(picture.lines) for picture in pictures} == {2}
    assert pictures[0].ticks[1][1] == "5:00"


def test_scale_is_one_for_all_and_no_line_leaves_it() -> None:
    told = Told("/slow", "/fast")
    for number in range(61):
        told.sample(float(number), [number * 10**6, number * 9 * 10**7], [0, 0])
    found = _measured(told)
    assert found is not None
    slow, fast = draw(found)
    assert slow.lines == fast.lines
    assert [label for _, label in fast.lines] == ["50", "100"]
    heights = [float(part.partition("H")[0]) for part in fast.copied.split("V")[1:]]
    assert min(heights) >= 6
    assert max(heights) <= fast.base
