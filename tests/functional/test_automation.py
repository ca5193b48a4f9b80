"""What runs by itself: installed, run as it would be run, and taken away without a trace."""

import json
import os
import plistlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import PROGRAM, run
from tests.support.files import make_file, partials
from tests.support.mounts import in_namespace, needs_loop, needs_namespace
from tests.support.scripts import content_of, ended, make_stub, other_volume, wait_for

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
INSTALLER = EXAMPLES / "install.py"
# What the systems give to what they start.
MINIMAL_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
# What a path may hold, and what shells, plists, units and crontabs make something else of.
HOSTILE = 'it\'s "50%" & <$HOME> \\n `x`'

pytestmark = pytest.mark.skipif(os.name == "nt", reason="automation of POSIX systems")


class Machine:
    """A home with nothing in it, and tools that only note that they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home of O'Neil & co"
        self.root = folder / "root"
        self.home.mkdir()
        self.root.mkdir()
        (folder / "bin").mkdir()
        self.path = f"{folder}/bin:{MINIMAL_PATH}"
        for name in ("systemctl", "udevadm", "launchctl"):
            self.make_tool(name, f'echo "{name} $*" >> "{folder}/called"')
        # One that keeps what it is given, as the real one does.
        table = f"'{folder}/crontab'"
        self.make_tool(
            "crontab",
            f'case $1 in -) exec cat > {table} ;; esac; [ -e {table} ] || {{ echo "no crontab for me" >&2; exit 1; }}\n'
            f"cat {table}",
        )

    def make_tool(self, name: str, body: str) -> None:
        make_stub(self.folder / "bin" / name, body)

    @property
    def called(self) -> list[str]:
        path = self.folder / "called"
        return path.read_text().splitlines() if path.exists() else []

    def install(self, *arguments: str | Path, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, INSTALLER, *arguments, "--root", self.root],
            cwd=self.folder,
            env={"PATH": self.path, "HOME": str(self.home), "PFNDISPATCHCOPY": PROGRAM},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def installed(self) -> dict[str, bytes]:
        """Every file that is there, and the crontab."""
        table = self.folder / "crontab"
        there = {**content_of(self.home), **content_of(self.root)}
        return {**there, "crontab": table.read_bytes() if table.exists() else b""}

    def start(self, command: Sequence[str | Path], **environment: str) -> subprocess.Popen[str]:
        """Start something as the system does: no terminal, no input, a short PATH, a home."""
        return subprocess.Popen(
            command,
            cwd="/",
            env={"PATH": MINIMAL_PATH, "HOME": str(self.home), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )

    def run(self, command: Sequence[str | Path], **environment: str) -> subprocess.CompletedProcess[str]:
        return ended(self.start(command, **environment))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with other_volume(tmp_path) as folder:
        (folder / HOSTILE).mkdir()
        yield folder / HOSTILE


ARGUMENTS = {
    "cron": ["films", "disk"],
    "systemd": ["films", "disk"],
    "udev": ["A0*", "disk"],
    "finder": ["disk"],
    "launchd": ["A0*", "disk"],
}


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_installing_twice_is_installing_once_and_nothing_is_left_in_the_end(machine: Machine, kind: str) -> None:
    (machine.folder / "crontab").write_text("MAILTO=me\n0 0 * * * true\n")
    before = machine.installed()
    machine.install(kind, *ARGUMENTS[kind])
    first = machine.installed()
    assert first != before
    assert all(str(EXAMPLES).encode() not in data for data in first.values()), "it needs this folder still"
    machine.install(kind, *ARGUMENTS[kind])
    assert machine.installed() == first
    machine.install(kind, "--uninstall")
    assert machine.installed() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cron", "films"], "cron needs more"),
        (["launchd", "A*"], "launchd needs more"),
        (["finder", "two\nlines"], "line break"),
        (["udev", 'A"', "disk"], "quotation mark"),
        (["at", "films", "disk"], "invalid choice"),
    ],
)
def test_what_cannot_be_meant_is_refused(machine: Machine, arguments: list[str], words: str) -> None:
    before = machine.installed()
    out = machine.install(*arguments, code=1 if arguments[0] == "udev" else 2)
    assert words in out
    assert machine.installed()["crontab"] == before["crontab"]


def test_without_the_program_nothing_is_set_up(machine: Machine) -> None:
    copy = machine.folder / "examples"
    shutil.copytree(EXAMPLES, copy)
    done = subprocess.run(
        [sys.executable, copy / "install.py", "cron", "a", "b"],
        env={"PATH": machine.path, "HOME": str(machine.home)}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "pfndispatchcopy is not installed: install it with `pipx install .`" in done.stderr
    assert not (machine.folder / "crontab").exists()


# -- cron -------------------------------------------------------------------------------------------------


def test_line_of_cron_backs_up_and_is_silent(machine: Machine, disk: Path) -> None:
    films = machine.folder / f"films {HOSTILE}"
    make_file(films / "clip.mov", 100_000)
    machine.install("cron", films, disk)
    (line,) = [each for each in machine.installed()["crontab"].decode().splitlines() if not each.startswith("#")]
    minute, hour, *days, command = line.split(" ", 5)
    assert (minute, hour, days) == ("15", "2", ["*", "*", "*"])
    # Every other percent sign would end the command.
    assert not re.search(r"(?<!\\)%", command)
    done = machine.run(["/bin/sh", "-c", command.replace("\\%", "%")])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert content_of(disk / films.name) == content_of(films)
    assert "end: exit code 0" in (machine.home / ".local/state/pfndispatchcopy/backup.log").read_text()


@pytest.mark.slow
def test_crontab_that_cannot_be_read_is_left_alone(machine: Machine) -> None:
    (machine.folder / "crontab").write_text("0 0 * * * true\n")
    machine.make_tool("crontab", '[ "$1" = -l ] && { echo "you may not use crontab" >&2; exit 1; }; touch written')
    assert "is left alone: you may not use crontab" in machine.install("cron", "films", "disk", code=1)
    assert not (machine.folder / "written").exists()


# -- systemd ----------------------------------------------------------------------------------------------


def _unit_words(text: str, *, is_command: bool) -> list[str]:
    """The words of a unit as systemd takes them: quotes and backslashes first, then its own signs."""
    words = shlex.split(text, posix=True)
    words = [each.replace("%%", "%") for each in words]
    return [each.replace("$$", "$") for each in words] if is_command else words


def _unit(path: Path) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a service."""
    lines = dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
    environment = dict(each.split("=", 1) for each in _unit_words(lines["Environment"], is_command=False))
    return _unit_words(lines["ExecStart"], is_command=True), environment


def _verify_units(*paths: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True, timeout=50, check=False
    )
    if done.returncode != 0 and "Failed to initialize manager" in done.stderr:
        pytest.skip(f"systemd-analyze does not run here: {done.stderr}")
    mine = [line for line in done.stderr.splitlines() if "pfndispatchcopy" in line]
    assert (done.returncode, mine) == (0, []), done.stderr


def test_timer_and_service_are_what_systemd_takes(machine: Machine) -> None:
    machine.install("systemd", f"films {HOSTILE}", "disk")
    units = [path for path in machine.folder.rglob("pfndispatchcopy-backup.*") if path.suffix in (".service", ".timer")]
    assert len(units) == 2
    assert any(line.endswith("enable --now pfndispatchcopy-backup.timer") for line in machine.called)
    _verify_units(*units)


def test_service_of_systemd_backs_up(machine: Machine, disk: Path) -> None:
    films = machine.folder / f"films {HOSTILE}"
    make_file(films / "clip.mov", 100_000)
    machine.install("systemd", films, disk)
    (service,) = machine.folder.rglob("pfndispatchcopy-backup.service")
    command, environment = _unit(service)
    environment["BACKUP_LOG"] = str(machine.folder / "backup.log")
    if os.geteuid() == 0:
        assert command[1] == str(machine.root / "usr/local/lib/pfndispatchcopy/systemd/nightly_backup.sh")
    done = machine.run(command, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert content_of(disk / films.name) == content_of(films)


# -- udev -------------------------------------------------------------------------------------------------


def test_rule_of_udev_wants_the_service_and_runs_nothing_itself(machine: Machine) -> None:
    machine.install("udev", "A0*|B0*", "disk")
    rule = (machine.root / "etc/udev/rules.d/99-pfndispatchcopy.rules").read_text().splitlines()[-1]
    part = re.compile(r'(\w+(?:\{\w+\})?)(==|=|\+=)"([^"]*)"')
    parts = [part.fullmatch(each) for each in rule.split(", ")]
    assert all(parts)
    found = {each[1]: (each[2], each[3]) for each in parts if each}
    assert found["ENV{ID_FS_LABEL}"] == ("==", "A0*|B0*")
    assert found["ENV{SYSTEMD_WANTS}"] == ("+=", "pfndispatchcopy@%k.service")
    assert found["TAG"] == ("+=", "systemd")
    assert not any(name.startswith(("RUN", "PROGRAM")) for name in found)
    assert machine.called[-1] == "udevadm control --reload"


def test_service_of_a_card_is_what_systemd_takes(machine: Machine) -> None:
    machine.install("udev", "A0*", "disk")
    service = machine.root / "etc/systemd/system/pfndispatchcopy@.service"
    command, environment = _unit(service)
    assert command[:3] == ["/bin/sh", "/usr/local/lib/pfndispatchcopy/udev/offload_device.sh", "/dev/%I"]
    assert environment["PFNDISPATCHCOPY"] == PROGRAM
    _verify_units(service)


def _card_service(machine: Machine, device: str, disk: Path) -> tuple[list[str], dict[str, str]]:
    machine.install("udev", "A0*", disk)
    command, environment = _unit(machine.root / "etc/systemd/system/pfndispatchcopy@.service")
    command[1] = str(machine.root) + command[1]
    command[2] = device
    environment |= {
        "RUNTIME_DIRECTORY": str(machine.folder / "run"),
        "OFFLOAD_LOG_DIR": str(machine.folder / "logs"),
        "OFFLOAD_DAY": "today",
    }
    (machine.folder / "run").mkdir()
    return command, environment


def test_card_is_mounted_read_only_copied_and_unmounted(machine: Machine) -> None:
    disk = machine.folder / HOSTILE
    disk.mkdir()
    make_file(machine.folder / "card/clip.mov", 100_000)
    called = machine.folder / "called"
    machine.make_tool("lsblk", "echo 'A 00/1'")
    machine.make_tool(
        "mount", f'echo "mount $1 $2 $3" >> "{called}"; for at do :; done; cp -r "{machine.folder}"/card/* "$at"'
    )
    machine.make_tool("umount", f'echo "umount $1" >> "{called}"; rm -r "$1"/*')
    command, environment = _card_service(machine, "/dev/sdz1", disk)
    done = machine.run(command, **environment, PATH=machine.path)
    assert done.returncode == 0, done.stderr
    assert content_of(disk / "today/A 00_1") == content_of(machine.folder / "card")
    mounted = machine.folder / "run/A 00_1"
    assert machine.called[-2:] == ["mount -o ro,nosuid,nodev,noexec /dev/sdz1", f"umount {mounted}"]
    assert not mounted.exists()
    assert "the card may be formatted" in done.stdout


@pytest.mark.kernel
def test_real_card_is_not_changed(machine: Machine) -> None:
    needs_loop()
    needs_namespace()
    disk = machine.folder / "disk"
    disk.mkdir()
    make_file(machine.folder / "card/clip.mov", 100_000)
    command, environment = _card_service(machine, "@", disk)
    command[2] = "$device"
    setting = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    words = " ".join(each if each == "$device" else shlex.quote(each) for each in command)
    done = in_namespace(
        "truncate -s 8M image && mkfs.ext4 -q -L A001 -d card image && before=$(sha256sum < image) || exit 77\n"
        "device=$(losetup --show -f image) || exit 77\n"
        f"HOME=/nonexistent {setting} {words}; code=$?\n"
        'losetup -d "$device"; [ "$before" = "$(sha256sum < image)" ] && echo unchanged; exit $code',
        machine.folder,
    )
    if done.returncode == 77:
        pytest.skip(f"no loop device can be had: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert "unchanged" in done.stdout
    (copy,) = (disk / "today").iterdir()
    assert (copy / "clip.mov").read_bytes() == (machine.folder / "card/clip.mov").read_bytes()


# -- the Finder -------------------------------------------------------------------------------------------

# What was selected: Finder gives absolute paths, and names decomposed.
_ITEMS = ("A001", "two  spaces", "two\nlines", unicodedata.normalize("NFD", "Café"), "-v", "--", 'x"; touch pwned; "')


class Finder:
    """The Quick Action, installed, and a dialogue that notes what it shows."""

    def __init__(self, machine: Machine, *destinations: Path, answer: str = "") -> None:
        self._machine = machine
        bin_of_user = machine.home / ".local/bin"
        bin_of_user.mkdir(parents=True)
        shown = machine.folder / "shown"
        make_stub(
            bin_of_user / "osascript",
            f"for each do case $each in *'choose folder'*) printf '{answer}'; exit {0 if answer else 1} ;; esac; done\n"
            f"for each do case $each in *notification*) kind=note ;; *alert*) kind=alert ;; esac; last=$each; done\n"
            f'printf \'%s: %s\\n\' "$kind" "$last" >> "{shown}"',
        )
        machine.install("finder", *destinations)
        contents = machine.home / "Library/Services/Offload and verify.workflow/Contents"
        self.workflow: dict[str, Any] = plistlib.loads((contents / "document.wflow").read_bytes())
        self.info: dict[str, Any] = plistlib.loads((contents / "Info.plist").read_bytes())
        self.items = machine.folder / "selected"
        self.items.mkdir()

    @property
    def command(self) -> str:
        parameters = self.workflow["actions"][0]["action"]["ActionParameters"]
        assert parameters["inputMethod"] == 1  # as arguments
        assert parameters["shell"] == "/bin/sh"
        return str(parameters["COMMAND_STRING"])

    def choose(self, *names: str) -> subprocess.CompletedProcess[str]:
        items = [self.items / name for name in names]
        return self._machine.run(["/bin/sh", "-c", self.command, "-", *items], LC_ALL="C.UTF-8")

    @property
    def shown(self) -> str:
        path = self._machine.folder / "shown"
        return path.read_text() if path.exists() else ""


def test_quick_action_is_offered_for_files_in_the_finder(machine: Machine) -> None:
    finder = Finder(machine)
    (service,) = finder.info["NSServices"]
    assert service["NSMenuItem"] == {"default": "Offload and verify"}
    assert service["NSMessage"] == "runWorkflowAsService"
    assert service["NSSendFileTypes"] == ["public.item"]
    about = finder.workflow["workflowMetaData"]
    assert about["workflowTypeIdentifier"] == "com.apple.Automator.servicesMenu"
    assert about["serviceInputTypeIdentifier"] == "com.apple.Automator.fileSystemObject"
    assert finder.workflow["actions"][0]["action"]["BundleIdentifier"] == "com.apple.RunShellScript"


def test_plists_are_well_formed(machine: Machine) -> None:
    for path in [*EXAMPLES.rglob("*.plist"), *EXAMPLES.rglob("*.wflow")]:
        plist = plistlib.loads(path.read_bytes())
        assert plistlib.loads(plistlib.dumps(plist)) == plist
        if shutil.which("plutil"):
            subprocess.run(["plutil", "-lint", path], check=True, timeout=30)


def test_selected_cards_of_any_name_are_offloaded_without_a_terminal(machine: Machine) -> None:
    disks = [machine.folder / HOSTILE, machine.folder / "-d"]
    for disk in disks:
        disk.mkdir()
    finder = Finder(machine, *disks)
    for number, name in enumerate(_ITEMS):
        make_file(finder.items / name / "clip.mov", 1000, seed=number)
        make_file(finder.items / name / ".DS_Store", 10)
    done = finder.choose(*_ITEMS)
    assert (done.returncode, done.stderr) == (0, "")
    for disk in disks:
        assert content_of(disk) == {f"{name}/clip.mov": content_of(finder.items)[f"{name}/clip.mov"] for name in _ITEMS}
    assert finder.shown == "note: Everything is complete and verified: the card may be formatted.\n"
    assert "end: exit code 0" in (machine.home / "Library/Logs/pfndispatchcopy.log").read_text()
    assert not list(machine.folder.rglob("pwned"))


@pytest.mark.slow
def test_selected_file_goes_into_the_folder(machine: Machine) -> None:
    (machine.folder / "disk").mkdir()
    finder = Finder(machine, machine.folder / "disk")
    data = make_file(finder.items / "a clip.mov", 1000)
    assert finder.choose("a clip.mov").returncode == 0
    assert (machine.folder / "disk/a clip.mov").read_bytes() == data


def test_quick_action_without_destinations_asks_for_them(machine: Machine) -> None:
    for name in ("raid 1", "shuttle"):
        (machine.folder / name).mkdir()
    finder = Finder(machine, answer=f"{machine.folder}/raid 1/\\n{machine.folder}/shuttle/\\n")
    data = make_file(finder.items / "A001/clip.mov", 1000)
    assert finder.choose("A001").returncode == 0
    for name in ("raid 1", "shuttle"):
        assert (machine.folder / name / "A001/clip.mov").read_bytes() == data


@pytest.mark.slow
def test_quick_action_that_is_cancelled_does_nothing(machine: Machine) -> None:
    finder = Finder(machine)
    make_file(finder.items / "A001/clip.mov", 1000)
    assert finder.choose("A001").returncode == 0
    assert finder.shown == ""


def test_disk_that_is_missing_is_shown_and_nothing_is_made(machine: Machine) -> None:
    finder = Finder(machine, machine.folder / "missing")
    make_file(finder.items / "A001/clip.mov", 1000)
    assert finder.choose("A001").returncode == 2
    assert finder.shown.startswith("alert: There is no folder ")
    assert not (machine.folder / "missing").exists()


@pytest.mark.slow
def test_conflict_is_shown_with_its_reason(machine: Machine) -> None:
    (machine.folder / "disk").mkdir()
    finder = Finder(machine, machine.folder / "disk")
    make_file(finder.items / "A001/clip.mov", 1000)
    make_file(finder.items / "A001/other.mov", 1000)
    make_file(machine.folder / "disk/A001/clip.mov", 1000, seed=2)
    assert finder.choose("A001").returncode == 3
    assert finder.shown.startswith("alert: Do not format the card. ")
    assert "different content is there already" in finder.shown
    (machine.folder / "disk/A001/clip.mov").unlink()
    assert finder.choose("A001").returncode == 0


# -- launchd ----------------------------------------------------------------------------------------------


class Agent:
    """The agent of launchd, installed."""

    def __init__(self, machine: Machine, *destinations: Path) -> None:
        self._machine = machine
        self.volumes = machine.folder / "Volumes"
        self.volumes.mkdir()
        machine.install("launchd", "A0*", *destinations)
        path = machine.home / "Library/LaunchAgents/pfndispatchcopy.offload.plist"
        self.plist: dict[str, Any] = plistlib.loads(path.read_bytes())

    def start(self, **environment: str) -> subprocess.Popen[str]:
        return self._machine.start(
            self.plist["ProgramArguments"],
            **{**self.plist["EnvironmentVariables"], "OFFLOAD_VOLUMES": str(self.volumes), **environment},
        )

    def run(self, **environment: str) -> int:
        done = ended(self.start(**environment))
        assert done.stdout == ""
        return done.returncode

    @property
    def runs(self) -> int:
        log = self._machine.home / "Library/Logs/pfndispatchcopy.log"
        return log.read_text().count(" INFO start: ") if log.exists() else 0


@pytest.fixture
def agent(machine: Machine) -> Agent:
    (machine.folder / HOSTILE).mkdir()
    return Agent(machine, machine.folder / HOSTILE)


def test_agent_starts_at_every_mount_and_has_time_to_stop(machine: Machine, agent: Agent) -> None:
    assert agent.plist["StartOnMount"] is True
    assert agent.plist["ExitTimeOut"] >= 30
    assert "KeepAlive" not in agent.plist
    assert Path(agent.plist["ProgramArguments"][1]).is_file()
    assert machine.called[-1].startswith(f"launchctl bootstrap gui/{os.getuid()} ")


def test_card_that_is_mounted_is_offloaded_once(machine: Machine, agent: Agent) -> None:
    for number, name in enumerate(("A001", "A002 é\n", "Macintosh HD")):
        make_file(agent.volumes / name / "DCIM/clip.mov", 1000, seed=number)
    shown = machine.folder / "shown"
    (machine.home / ".local/bin").mkdir(parents=True)
    make_stub(machine.home / ".local/bin/osascript", f'for each do last=$each; done; echo "$last" >> "{shown}"')
    assert agent.run() == 0
    disk = machine.folder / HOSTILE
    assert {path.name for path in disk.iterdir()} == {"A001", "A002 é\n"}
    assert content_of(disk / "A001") == content_of(agent.volumes / "A001")
    assert shown.read_text() == "Everything is complete and verified.\n" * 2
    assert agent.runs == 2
    assert agent.run() == 0
    assert agent.runs == 2
    make_file(agent.volumes / "A001/DCIM/clip2.mov", 1000, seed=7)
    assert agent.run() == 0
    assert agent.runs == 3
    assert content_of(disk / "A001") == content_of(agent.volumes / "A001")


def test_mount_that_is_no_card_ends_at_once(agent: Agent) -> None:
    make_file(agent.volumes / "Macintosh HD/x", 10)
    assert agent.run(PFNDISPATCHCOPY="/nonexistent") == 0


def test_destination_that_is_not_there_yet_is_waited_for(machine: Machine) -> None:
    agent = Agent(machine, machine.folder / "disk")
    make_file(agent.volumes / "A001/clip.mov", 1000)
    assert agent.run(PFNDISPATCHCOPY="/nonexistent") == 0
    assert not (machine.folder / "disk").exists()
    (machine.folder / "disk").mkdir()
    assert agent.run() == 0
    assert content_of(machine.folder / "disk/A001") == content_of(agent.volumes / "A001")


@pytest.mark.slow
def test_destination_is_no_card_even_where_its_name_is_like_one(machine: Machine) -> None:
    (machine.folder / "Volumes").mkdir()
    disk = machine.folder / "Volumes/A0 raid"
    disk.mkdir()
    (machine.folder / "Volumes").rename(machine.folder / "V")
    agent = Agent(machine, disk)
    agent.volumes.rmdir()
    (machine.folder / "V").rename(agent.volumes)
    make_file(agent.volumes / "A001/clip.mov", 1000)
    assert agent.run() == 0
    assert set(content_of(disk)) == {"A001/clip.mov"}


@pytest.mark.slow
def test_card_that_failed_is_tried_again(machine: Machine, agent: Agent) -> None:
    make_file(agent.volumes / "A001/clip.mov", 1000)
    other = make_file(machine.folder / HOSTILE / "A001/clip.mov", 1000, seed=2)
    assert agent.run() == 1
    assert (machine.folder / HOSTILE / "A001/clip.mov").read_bytes() == other
    (machine.folder / HOSTILE / "A001/clip.mov").unlink()
    assert agent.run() == 0


def test_agent_that_is_told_to_stop_stops_the_program(machine: Machine, agent: Agent) -> None:
    make_file(agent.volumes / "A001/clip.mov", 5_000_000)
    (machine.folder / "slow.toml").write_text('bwlimit = "1M"\nbuffer-size = "100K"\n')
    process = agent.start(PFNDISPATCHCOPY_CONFIG=str(machine.folder / "slow.toml"))
    wait_for(lambda: [each for each in partials(machine.folder) if "journal" not in each.name], process)
    process.send_signal(signal.SIGTERM)  # to the script alone, as launchd does
    assert ended(process).returncode == 143
    assert not (machine.folder / HOSTILE / "A001/clip.mov").exists()
    assert agent.run() == 0
    assert content_of(machine.folder / HOSTILE / "A001") == content_of(agent.volumes / "A001")


# -- notifications ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["notify-send", "osascript"])
def test_end_of_an_offload_is_shown_on_the_desktop(machine: Machine, tool: str) -> None:
    machine.make_tool(tool, f'for each do printf \'%s|\' "$each"; done > "{machine.folder}/shown"')
    for code, words in ((0, "Everything is complete"), (4, "BYTES DIFFER"), (3, "INCOMPLETE"), (1, "FAILED")):
        hostile = 'x","exit_code":0,"y'
        event = {"event": "summary", "ok": code == 0, "exit_code": code, "destinations": [{"path": hostile}]}
        done = subprocess.run(
            ["/bin/sh", EXAMPLES / "notify.sh"],
            input=json.dumps(event, separators=(",", ":")),
            env={"PATH": machine.path}, text=True, capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert words in (machine.folder / "shown").read_text()


def test_notification_is_a_hook_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_file(tmp_path / "s", 10)
    (tmp_path / "bin").mkdir()
    make_stub(tmp_path / "bin/notify-send", f'echo "$*" > "{tmp_path}/shown"')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    done = run("--on-finish", f"sh {shlex.quote(str(EXAMPLES / 'notify.sh'))}", "s", "a/", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    if not shutil.which("osascript"):
        assert "Offload complete" in (tmp_path / "shown").read_text()


def test_machine_without_a_desktop_is_no_failure(tmp_path: Path) -> None:
    for name in ("cat", "sed"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        ["/bin/sh", EXAMPLES / "notify.sh"],
        input='{"exit_code":0}', env={"PATH": str(tmp_path)}, text=True, capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("script", sorted(EXAMPLES.rglob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_clean(script: Path) -> None:
    assert os.access(script, os.X_OK)
    if shutil.which("shellcheck") is None:
        pytest.skip("there is no shellcheck here")
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == ""
