"""Too few descriptors, processes or threads, too little memory: refused, or failed in words, and nothing half-done."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pfndispatchcopy.errors import PfnDispatchCopyError
from tests.support.check_trial import write_sums
from tests.support.command import PROGRAM, environment, events_of, peak_memory_bytes
from tests.support.files import make_file, partials
from tests.support.tree_trial import SOURCE, AnyCall, TreeTrial

resource = pytest.importorskip("resource")

_SIZE = 300_000


def _limited(
    arguments: Sequence[str], cwd: Path, wrapper: Sequence[str] = (), **limits: int
) -> subprocess.CompletedProcess[str]:
    """Run the command under limits, by the names of :mod:`resource`; whatever they are, it says in words what is."""

    def limit() -> None:
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))

    done = subprocess.run(
        [*wrapper, PROGRAM, *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        preexec_fn=limit,
        env=environment(),
    )
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    assert (done.returncode == 0) == ("error:" not in done.stderr), done.stderr
    return done


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A file, and a card with a sum file."""
    make_file(tmp_path / "s", _SIZE)
    for number in range(20):
        make_file(tmp_path / f"card/f{number:02}", 1_000 + number, seed=number)
    write_sums(tmp_path / "card/card.xxh64", [f"f{number:02}" for number in range(20)])
    return tmp_path


def _require_nothing_false(place: Path) -> None:
    """What has a final name is whole, nothing temporary is left, and the source is as it was."""
    assert partials(place) == []
    for name in ("a", "b"):
        for path in (place / name).rglob("*"):
            if path.is_file():
                source = place / "s" if path.name == "s" else place / "card" / path.name
                assert path.read_bytes() == source.read_bytes()
    assert len((place / "s").read_bytes()) == _SIZE
    for name in ("a", "b"):
        shutil.rmtree(place / name, ignore_errors=True)


@pytest.mark.fault(18)
@pytest.mark.parametrize("count", [5, 7, 40])
def test_too_few_descriptors_are_refused_in_one_line(place: Path, count: int) -> None:
    codes = {}
    for arguments in (["s", "a/", "b/"], ["--json", "card", "a/", "b/"]):
        done = _limited(arguments, place, NOFILE=count)
        codes[arguments[-3]] = done.returncode
        assert done.returncode in (0, 2), done.stderr
        if done.returncode == 2:
            assert "open files" in done.stderr
            assert len(done.stderr.splitlines()) == 1
        for event in events_of(done.stdout if "--json" in arguments else ""):
            assert event.get("exit_code", 2) == 2
        _require_nothing_false(place)
    assert codes == {"s": 0 if count == 40 else 2, "card": 2}
    done = _limited(["--check", "card"], place, NOFILE=count)
    assert done.returncode in ((0,) if count == 40 else (2, 3))


def _least_memory() -> int:
    """Bytes of address space that the interpreter and the modules of the command need by themselves."""
    code = (
        "import argparse, base64, json, pickle, threading, unicodedata;"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmPeak')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024


@pytest.mark.fault(17)
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, and a limit of address space that is kept")
def test_too_little_memory_is_a_refusal_or_a_failure_and_never_half_a_file(place: Path) -> None:
    least, codes = _least_memory(), []
    for beyond in (1, 12, 28, 40):
        arguments = ["s", "a/", "b/"] if beyond in (16, 40) else ["card", "a/", "b/"]
        done = _limited(arguments, place, AS=least + (beyond << 20))
        codes.append(done.returncode)
        assert done.returncode in (0, 1, 2, 3), done.stderr
        _require_nothing_false(place)
    assert codes[0] != 0
    done = _limited(["--check", "card"], place, AS=least + (12 << 20))
    assert done.returncode in (0, 1, 2, 3)


@pytest.fixture
def somebody(place: Path) -> list[str]:
    """Another user, who may do what root may with files: limits of processes are not for root."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None or shutil.which("prlimit") is None:
        pytest.skip("a limit of processes needs root, setpriv and prlimit, to be another user with")
    user = str(50_000 + os.getpid() % 10_000)
    rights = "+dac_override,+dac_read_search"
    privileges = ["--inh-caps", rights, "--ambient-caps", rights]
    return ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", *privileges]


@pytest.mark.fault(17, 62)
def test_too_few_processes_or_threads_are_refused_in_one_line(place: Path, somebody: list[str]) -> None:
    codes = []
    for count in (1, 2, 3, 5, 6, 40):
        limit = ["prlimit", f"--nproc={count}:{count}"]
        arguments = ["s", "a/", "b/"] if count % 2 else ["card", "a/", "b/"]
        done = _limited(["-q", *arguments], place, [*somebody, *limit])
        codes.append(done.returncode)
        if done.returncode != 0:
            words = ("cannot start the process that copies", "has no thread")
            assert any(each in done.stderr for each in words), (count, done.stderr)
        _require_nothing_false(place)
    assert codes[:3] == [2, 2, 2]
    assert set(codes[3:-1]) <= {1, 2}
    assert codes[-1] == 0
    done = _limited(["--check", "card"], place, [*somebody, "prlimit", "--nproc=3:3"])
    assert done.returncode == 2


@pytest.mark.fault(5)
def test_file_size_limit_below_the_record_and_the_lists_costs_them_and_no_copy(place: Path) -> None:
    (place / "card/card.xxh64").unlink()
    for number in range(20):
        (place / f"card/f{number:02}").write_bytes(b"x" * number)
    done = _limited(["--json", "--sums", "md5", "card", "a"], place, FSIZE=60)
    assert done.returncode == 3
    assert "the record for a later run cannot be" in done.stderr or "no record for a later run" in done.stderr
    assert "write the lists failed" in done.stderr
    assert "(EFBIG)" in done.stderr
    _require_nothing_false(place)


@pytest.mark.skipif(sys.platform != "linux", reason="counts resident memory as Linux does")
def test_tree_keeps_within_the_memory_that_its_plan_states(tmp_path: Path) -> None:
    make_file(tmp_path / "small/x", 10)
    for number in range(3):
        make_file(tmp_path / f"card/c{number}", 24_000_000, seed=number)
    destinations = [str(tmp_path / f"d{number}") for number in range(4)]
    options = ("--memory-limit", "12MiB", "--jobs", "2")
    done = _limited([*options, "-n", "--json", "card", *destinations], tmp_path)
    (plan,) = [event for event in events_of(done.stdout) if event["event"] == "plan"]
    assert plan["memory_bound"] <= 12 << 20
    without = peak_memory_bytes("-q", *options, tmp_path / "small", *destinations)
    peak = peak_memory_bytes("-q", *options, tmp_path / "card", *destinations)
    # Two jobs have threads and stacks of their own beside the chunks.
    assert peak - without <= plan["memory_bound"] + (8 << 20)


# -- in this process: at any call, and without any thread ------------------------------------------------------------


def _lack_memory(step: int, strategy: str) -> int:
    """Let memory be missing at every so manieth call, each in a run of its own; returns how often it was."""
    fired = 0
    for where in ("/d1", SOURCE):
        for nth in range(1, 1000, step):
            with tempfile.TemporaryDirectory(prefix="pfn-test-") as name:
                trial = TreeTrial(Path(name).resolve(), strategy=strategy)

                def fail(real: Callable[[], Any], *arguments: Any, trial: TreeTrial = trial) -> Any:
                    if trial.system.calls[-1][0] in ("close", "close_folder", "remove_name"):
                        real()  # what nothing has to be made for is done
                    raise MemoryError

                rule = AnyCall("", where, fail, nth, 1)
                trial.system.state.rules.append(rule)
                try:
                    result = trial.run_within(20)
                    assert result.exit_code != 0 or all(trial.names(number) for number in range(3))
                except (MemoryError, PfnDispatchCopyError):
                    pass
                trial.require_nothing_false()
                assert trial.run_again().exit_code == 0, (where, nth, rule.victim)
                trial.require_no_partials()
                trial.end()
                fired += rule.fired
                if not rule.fired:
                    break
    return fired


@pytest.mark.fault(17)
@pytest.mark.timeout(120)
def test_memory_that_is_missing_at_any_call_costs_what_was_being_done(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", logger="pfndispatchcopy")
    assert _lack_memory(17, "auto") > 5


@pytest.mark.slow
@pytest.mark.fault(17)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("strategy", ["auto", "single", "parallel"])
def test_memory_that_is_missing_at_each_call_costs_what_was_being_done(
    strategy: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL", logger="pfndispatchcopy")
    assert _lack_memory(1, strategy) > 80
