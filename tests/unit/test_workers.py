"""The number of jobs: as asked, or from processors, storage and memory; and always with the reason."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfndispatchcopy.fileio.storage import StorageKind
from pfndispatchcopy.workers import MEMORY_KEPT_FREE, Jobs, Outline, advise, choose_jobs

_MIB = 1 << 20
_QUICK = (StorageKind.SOLID, StorageKind.MEMORY)
_SLOW = (StorageKind.ROTATIONAL, StorageKind.NETWORK, StorageKind.UNKNOWN)


def _jobs(asked: int | None = None, **changes: Any) -> Jobs:
    given_: dict[str, Any] = {
        "cores": 4,
        "storages": [StorageKind.SOLID] * 3,
        "available": None,
        "limit": None,
        "bytes_each": 16 * _MIB,
    }
    return choose_jobs(asked, **{**given_, **changes})


@pytest.mark.parametrize("asked", [1, 3, 64])
def test_number_that_is_asked_for_is_taken_whatever_there_is(asked: int) -> None:
    jobs = _jobs(asked, cores=1, storages=_SLOW, available=1, limit=1)
    assert (jobs.at_once, jobs.readers) == (asked, asked)
    assert "as asked for" in jobs.reason


def test_flash_and_memory_serve_a_job_for_each_processor() -> None:
    for cores in (1, 2, 4):
        jobs = _jobs(cores=cores, storages=_QUICK)
        assert (jobs.at_once, jobs.readers) == (cores, cores)
        assert f"{cores} processors" in jobs.reason


def test_more_than_a_few_jobs_are_never_chosen() -> None:
    assert _jobs(cores=256).at_once == _jobs(cores=64).at_once < 64


@pytest.mark.parametrize("kind", _SLOW)
def test_one_slow_storage_means_one_file_at_a_time_while_the_one_before_is_compared(kind: StorageKind) -> None:
    jobs = _jobs(cores=16, storages=[*_QUICK, kind])
    assert (jobs.at_once, jobs.readers) == (2, 1)
    assert str(kind) in jobs.reason


def test_reason_names_all_that_is_slow_and_nothing_else() -> None:
    reason = _jobs(storages=[*_QUICK, StorageKind.NETWORK, StorageKind.ROTATIONAL, StorageKind.NETWORK]).reason
    assert "network and rotational storage" in reason
    assert "solid" not in reason


def test_want_of_memory_makes_it_fewer_and_is_said() -> None:
    jobs = _jobs(cores=8, available=100 * _MIB)
    assert jobs.at_once == 5  # of 16 MiB each, with a fifth of 100 kept free
    assert "want of memory" in jobs.reason
    assert "104.9 MB of memory available" in jobs.reason


def test_limit_of_the_user_makes_it_fewer() -> None:
    jobs = _jobs(cores=8, limit=48 * _MIB, available=1 << 40)
    assert jobs.at_once == 3
    assert "want of memory" in jobs.reason


def test_enough_memory_is_no_reason() -> None:
    jobs = _jobs(cores=4, limit=64 * _MIB, available=1 << 40)
    assert jobs.at_once == 4
    assert "want" not in jobs.reason


def test_one_job_there_is_always_and_one_reader() -> None:
    for storages in (_QUICK, _SLOW):
        jobs = _jobs(cores=0, storages=storages, available=1, limit=1)
        assert (jobs.at_once, jobs.readers) == (1, 1)
    assert _jobs(available=1).reason.startswith("1 job:")


@settings(deadline=None)
@given(
    cores=st.integers(0, 300),
    storages=st.sets(st.sampled_from(StorageKind)),
    available=st.none() | st.integers(0, 1 << 36),
    limit=st.none() | st.integers(1, 1 << 36),
    bytes_each=st.integers(1, 1 << 28),
)
def test_all_jobs_together_fit_into_the_memory_or_there_is_one(
    cores: int, storages: set[StorageKind], available: int | None, limit: int | None, bytes_each: int
) -> None:
    jobs = choose_jobs(None, cores=cores, storages=storages, available=available, limit=limit, bytes_each=bytes_each)
    assert 1 <= jobs.readers <= jobs.at_once
    if jobs.at_once > 1:
        together = jobs.at_once * bytes_each
        assert limit is None or together <= limit
        assert available is None or together <= available * (1 - MEMORY_KEPT_FREE)


_NETWORK, _DISK, _FLASH = (StorageKind.NETWORK,), (StorageKind.ROTATIONAL,), (StorageKind.SOLID,)


@pytest.mark.parametrize(
    ("outline", "words"),
    [
        (Outline(200, 10**6, _NETWORK, _NETWORK), "it is a small job, of about 1 s"),
        (Outline(2, 10**13, _NETWORK, _NETWORK), "there are 2 files"),
        (Outline(10**5, 10**12, _DISK, _DISK, "sda"), "on one rotating disk, sda"),
        (Outline(10**5, 10**12, _FLASH, _NETWORK), "the source is on solid storage of this host"),
        (Outline(10**5, 10**12, _NETWORK, _DISK), "a rotating disk does one thing at a time"),
    ],
)
def test_it_is_said_why_more_would_not_help(outline: Outline, words: str) -> None:
    advice = advise(outline, Jobs(2, 2, ""))
    assert "will not help" in advice
    assert words in advice


def test_more_hosts_may_help_where_everything_is_on_the_network() -> None:
    advice = advise(Outline(10**5, 10**13, _NETWORK, _NETWORK * 3), Jobs(2, 1, ""))
    assert "more hosts, each with its own, may help" in advice
    assert "will not help" not in advice
