"""The machine stays awake while a run goes on, by the system's own tool, and never for longer."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

import pfndispatchcopy.cli.awake
from pfndispatchcopy.cli.awake import Awake
from pfndispatchcopy.fileio.windows import WindowsAwake
from tests.support.command import environment
from tests.support.files import make_file

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the fake tools are shell scripts")

# Tells that it was started, and then does what the real one does: runs a command until that ends.
_INHIBIT = """#!/bin/sh
printf '%s\\n' "$@" > "{folder}/arguments"
while [ "$1" != cat ]; do shift; done
echo $$ > "{folder}/pid"
exec "$@"
"""
# Waits for a process, as the real one does with -w.
_CAFFEINATE = """#!/bin/sh
printf '%s\\n' "$@" > "{folder}/arguments"
echo $$ > "{folder}/pid"
while kill -0 "$4"; do sleep 0.05; done
"""


class Tool:
    """A fake tool, and what is known of it."""

    def __init__(self, folder: Path, name: str, text: str) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "bin" / name).write_text(text.format(folder=folder))
        (folder / "bin" / name).chmod(0o755)

    @property
    def arguments(self) -> list[str]:
        return (self.folder / "arguments").read_text().splitlines()

    @property
    def was_started(self) -> bool:
        return (self.folder / "arguments").exists()

    @property
    def is_running(self) -> bool:
        with suppress(OSError, ValueError):
            pid = int((self.folder / "pid").read_text())
            state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
            return state.stdout.strip() not in ("", "Z")
        return False


def _wait_for(is_true: Callable[[], bool]) -> None:
    until = time.monotonic() + 15
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def inhibit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return Tool(tmp_path, "systemd-inhibit", _INHIBIT)


@pytest.fixture
def caffeinate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return Tool(tmp_path, "caffeinate", _CAFFEINATE)


def test_systemd_holds_the_machine_awake_until_the_run_is_over(inhibit: Tool) -> None:
    awake = Awake(0.01)
    _wait_for(lambda: inhibit.is_running)
    assert inhibit.arguments[0] == "--what=idle:sleep"
    assert {"--who=pfndispatchcopy", "--mode=block"} < set(inhibit.arguments)
    awake.close()
    assert not inhibit.is_running


def test_caffeinate_waits_for_this_very_process(caffeinate: Tool) -> None:
    awake = Awake(0.01)
    _wait_for(lambda: caffeinate.is_running)
    assert caffeinate.arguments == ["-i", "-m", "-w", str(os.getpid())]
    awake.close()
    assert not caffeinate.is_running


def test_short_run_starts_nothing(inhibit: Tool) -> None:
    awake = Awake()
    time.sleep(0.1)
    awake.close()
    assert not inhibit.was_started


def test_missing_tool_is_nobodys_business(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    awake = Awake(0.01)
    time.sleep(0.1)
    awake.close()


def test_missing_thread_is_nobodys_business(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    Awake(0.0).close()


def test_tool_that_refuses_is_nobodys_business(tmp_path: Path, inhibit: Tool) -> None:
    refusing = tmp_path / "bin" / "systemd-inhibit"
    refusing.write_text(
        f'#!/bin/sh\necho "Failed to inhibit: Access denied" >&2\ntouch "{tmp_path}/arguments"\nexit 1\n'
    )
    awake = Awake(0.01)
    _wait_for(lambda: inhibit.was_started)
    awake.close()


def test_windows_is_told_by_the_thread_that_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[int] = []

    def set_state(state: ctypes.c_uint) -> int:
        states.append(state.value)
        return 1

    kernel = SimpleNamespace(SetThreadExecutionState=set_state)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    monkeypatch.setattr(pfndispatchcopy.cli.awake, "sys", SimpleNamespace(platform="win32"))
    awake = Awake(0.01)
    _wait_for(lambda: bool(states))
    awake.close()
    assert states == [0x80000001, 0x80000000]


def test_windows_that_refuses_is_an_error_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = SimpleNamespace(SetThreadExecutionState=lambda state: 0)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    with pytest.raises(PermissionError):
        WindowsAwake()


# The real command, that waits for a moment only.
_COMMAND = """
import sys
import pfndispatchcopy.cli.awake
pfndispatchcopy.cli.awake.AFTER_S = 0.05
from pfndispatchcopy.cli.main import console
sys.argv[0] = "pfndispatchcopy"
console()
"""


def _start_slow_copy(folder: Path) -> subprocess.Popen[bytes]:
    make_file(folder / "s", 4_000_000)
    return subprocess.Popen(
        [sys.executable, "-c", _COMMAND, "-q", "--bwlimit", "2M", "s", "a/"],
        cwd=folder,
        env={**environment(), "PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the fake tool is that of Linux")
def test_command_holds_the_machine_awake_while_it_copies(tmp_path: Path, inhibit: Tool) -> None:
    process = _start_slow_copy(tmp_path)
    _wait_for(lambda: inhibit.is_running)
    assert process.wait(timeout=30) == 0
    _wait_for(lambda: not inhibit.is_running)


@pytest.mark.skipif(sys.platform != "linux", reason="the fake tool is that of Linux")
def test_killed_command_lets_the_machine_sleep(tmp_path: Path, inhibit: Tool) -> None:
    process = _start_slow_copy(tmp_path)
    _wait_for(lambda: inhibit.is_running)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _wait_for(lambda: not inhibit.is_running)
    for each in tmp_path.rglob(".pfn.*"):  # what a killed run leaves, and the next one sweeps
        each.unlink()


@pytest.mark.skipif(sys.platform != "linux", reason="the fake tool is that of Linux")
def test_ctrl_c_is_not_for_the_tool(tmp_path: Path, inhibit: Tool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND, "-q", "--bwlimit", "100K", "-b", "100K", "s", "a/"],
        cwd=make_file(tmp_path / "s", 4_000_000) and tmp_path,
        env={**environment(), "PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    _wait_for(lambda: inhibit.is_running)
    tool = int((tmp_path / "pid").read_text())
    assert os.getsid(tool) != os.getsid(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 130
    _wait_for(lambda: not inhibit.is_running)
