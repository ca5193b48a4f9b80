#!/usr/bin/env python3
"""Puts the automation of these examples into place, and takes it away again.

    examples/install.py cron SOURCE DESTINATION...       a backup every night, by cron
    examples/install.py systemd SOURCE DESTINATION...    the same by a timer of systemd, yours, or root's for the system
    examples/install.py udev PATTERN DESTINATION...      cards whose label is like PATTERN, when they are plugged in
    examples/install.py finder [DESTINATION...]          macOS: a Quick Action in the Finder; without one, it asks
    examples/install.py launchd PATTERN DESTINATION...   macOS: volumes whose name is like PATTERN, when mounted
    examples/install.py KIND --uninstall

Run again, it replaces what it has put there. What it needs of the examples is copied, so that this folder may go.
"""

import argparse
import os
import plistlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MARK = "# pfndispatchcopy: backup every night (examples/install.py cron --uninstall removes it)"
LABEL = "pfndispatchcopy.offload"
ACTION = "Offload and verify"
SCRIPTS = {
    "cron": ["nightly_backup.sh"],
    "systemd": ["nightly_backup.sh"],
    "udev": ["linux/offload_device.sh", "offload_card.sh"],
    "finder": ["macos/offload_from_finder.sh"],
    "launchd": ["macos/offload_on_mount.sh", "notify.sh"],
}
LEAST = {"cron": 2, "systemd": 2, "udev": 2, "finder": 0, "launchd": 2}


class Place:
    """Where things go, and what they are to run.

    Args:
        kind: of the automation.
        root: before every path of the system; for those who build packages, and for tests.
    """

    def __init__(self, kind: str, root: str) -> None:
        self.home = Path(os.environ.get("HOME") or Path.home())
        self.is_system = kind == "udev" or (kind == "systemd" and os.geteuid() == 0)
        self.root = Path(root)
        if self.is_system:
            self.scripts = self.root / "usr/local/lib/pfndispatchcopy" / kind
        elif kind in ("finder", "launchd"):
            self.scripts = self.home / "Library/Application Support/pfndispatchcopy" / kind
        else:
            data = os.environ.get("XDG_DATA_HOME") or self.home / ".local/share"
            self.scripts = Path(data) / "pfndispatchcopy" / kind

    @property
    def units(self) -> Path:
        """Where systemd looks for units."""
        if self.is_system:
            return self.root / "etc/systemd/system"
        return Path(os.environ.get("XDG_CONFIG_HOME") or self.home / ".config") / "systemd/user"

    @property
    def systemctl(self) -> list[str]:
        """The command that asks systemd, the user's own or the system's."""
        return ["systemctl"] if self.is_system else ["systemctl", "--user"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=list(SCRIPTS))
    parser.add_argument("arguments", nargs="*", metavar="PATTERN, SOURCE, DESTINATION")
    parser.add_argument("--uninstall", action="store_true", help="take it away again")
    root = os.environ.get("DESTDIR") or "/"
    parser.add_argument("--root", default=root, help="before every path of the system (default: $DESTDIR or /)")
    options = parser.parse_intermixed_args()
    kind, arguments = options.kind, options.arguments
    place = Place(kind, options.root)
    if options.uninstall:
        UNINSTALL[kind](place)
        shutil.rmtree(place.scripts, ignore_errors=True)
        with suppress(OSError):  # another one is there still
            place.scripts.parent.rmdir()
        print(f"{kind}: removed")
        return
    if len(arguments) < LEAST[kind]:
        parser.error(f"{kind} needs more: see --help")
    if any(character in each for each in arguments for character in "\n\r"):
        parser.error("a path with a line break in it cannot be written down there")
    first = 1 if kind in ("udev", "launchd") else 0  # a pattern is no path
    arguments[first:] = [os.path.abspath(each) for each in arguments[first:]]
    place.scripts.mkdir(parents=True, exist_ok=True)
    for script in SCRIPTS[kind]:
        shutil.copy(HERE / script, place.scripts)
    INSTALL[kind](place, find_program(), arguments)


def find_program() -> str:
    """The absolute path of the program: none of these has the PATH of a terminal."""
    beside = HERE.parent / ".venv/bin/pfndispatchcopy"
    found = os.environ.get("PFNDISPATCHCOPY") or shutil.which("pfndispatchcopy") or (beside.exists() and str(beside))
    if not found:
        sys.exit("pfndispatchcopy is not installed: install it with `pipx install .`, or name it in PFNDISPATCHCOPY")
    return os.path.abspath(found)


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    print(f"wrote {path}")


def attempt(*command: str) -> None:
    """Run one of the system's tools; where it cannot be run, say what is left to do."""
    try:
        done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True)  # noqa: S603
        if done.returncode == 0:
            return
    except OSError:
        pass
    print(f"to be done by you: {shlex.join(command)}")


# -- cron -------------------------------------------------------------------------------------------------


def install_cron(place: Place, program: str, arguments: Sequence[str]) -> None:
    log = place.home / ".local/state/pfndispatchcopy/backup.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = f"PFNDISPATCHCOPY={shlex.quote(program)} BACKUP_LOG={shlex.quote(str(log))}"
    command = shlex.join(["/bin/sh", str(place.scripts / "nightly_backup.sh"), *arguments])
    # To cron, a percent sign ends the line.
    line = f"15 2 * * * {environment} {command}".replace("%", "\\%")
    write_crontab([*without_ours(read_crontab()), MARK, line])
    print(f"crontab: {line}")


def uninstall_cron(place: Place) -> None:
    del place
    lines = read_crontab()
    if MARK in lines:
        write_crontab(without_ours(lines))


def read_crontab() -> list[str]:
    if shutil.which("crontab") is None:
        sys.exit("there is no cron here; `examples/install.py systemd` does the same with a timer")
    done = subprocess.run(["crontab", "-l"], check=False, capture_output=True, text=True)  # noqa: S607
    if done.returncode != 0 and "no crontab" not in done.stderr:
        sys.exit(f"the crontab cannot be read, and is left alone: {done.stderr.strip()}")
    return done.stdout.splitlines()


def without_ours(lines: Sequence[str]) -> list[str]:
    """The lines of others: all but the mark, and the one behind it."""
    return [line for before, line in zip(["", *lines], lines, strict=False) if MARK not in (before, line)]


def write_crontab(lines: Sequence[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    subprocess.run(["crontab", "-"], check=True, input=text, text=True)  # noqa: S607


# -- systemd and udev -------------------------------------------------------------------------------------


def install_systemd(place: Place, program: str, arguments: Sequence[str]) -> None:
    log = Path("/var/log/pfndispatchcopy-backup.log")
    if not place.is_system:
        log = place.home / ".local/state/pfndispatchcopy/backup.log"
        log.parent.mkdir(parents=True, exist_ok=True)
    environment = {"PFNDISPATCHCOPY": program, "BACKUP_LOG": str(log)}
    command = ["/bin/sh", str(place.scripts / "nightly_backup.sh"), *arguments]
    put(place.units / "pfndispatchcopy-backup.service", unit("pfndispatchcopy-backup.service", environment, command))
    put(place.units / "pfndispatchcopy-backup.timer", (HERE / "linux/pfndispatchcopy-backup.timer").read_bytes())
    attempt(*place.systemctl, "daemon-reload")
    attempt(*place.systemctl, "enable", "--now", "pfndispatchcopy-backup.timer")
    if not place.is_system:
        print("so that it runs while you are not logged in, too: loginctl enable-linger")


def uninstall_systemd(place: Place) -> None:
    if (place.units / "pfndispatchcopy-backup.timer").exists():
        attempt(*place.systemctl, "disable", "--now", "pfndispatchcopy-backup.timer")
    for name in ("pfndispatchcopy-backup.service", "pfndispatchcopy-backup.timer"):
        (place.units / name).unlink(missing_ok=True)
    attempt(*place.systemctl, "daemon-reload")


def install_udev(place: Place, program: str, arguments: Sequence[str]) -> None:
    pattern, *destinations = arguments
    if '"' in pattern:
        sys.exit("a pattern with a quotation mark in it cannot be written down there")
    environment = {"PFNDISPATCHCOPY": program, "OFFLOAD_LOG_DIR": "/var/log/pfndispatchcopy"}
    script = place.scripts / "offload_device.sh"
    command = ["/bin/sh", "/" + str(script.relative_to(place.root)), "/dev/%I", *destinations]
    put(place.units / "pfndispatchcopy@.service", unit("pfndispatchcopy@.service", environment, command))
    rule = (HERE / "linux/99-pfndispatchcopy.rules").read_text().replace("@PATTERN@", pattern)
    put(place.root / "etc/udev/rules.d/99-pfndispatchcopy.rules", rule.encode())
    attempt("systemctl", "daemon-reload")
    attempt("udevadm", "control", "--reload")


def uninstall_udev(place: Place) -> None:
    (place.root / "etc/udev/rules.d/99-pfndispatchcopy.rules").unlink(missing_ok=True)
    (place.units / "pfndispatchcopy@.service").unlink(missing_ok=True)
    attempt("systemctl", "daemon-reload")
    attempt("udevadm", "control", "--reload")


def unit(name: str, environment: dict[str, str], command: Sequence[str]) -> bytes:
    """A unit with its blanks filled in."""
    text = (HERE / "linux" / name).read_text()
    words = " ".join(unit_word(f"{key}={value}") for key, value in environment.items())
    text = text.replace("@ENVIRONMENT@", words)
    return text.replace("@COMMAND@", " ".join(unit_word(each, is_command=True) for each in command)).encode()


def unit_word(text: str, *, is_command: bool = False) -> str:
    """A word as systemd reads it back; in a command, the instance of a template keeps its meaning."""
    word = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if is_command:
        word = word.replace("$", "$$").replace("/dev/%%I", "/dev/%I")
    return f'"{word}"'


# -- macOS ------------------------------------------------------------------------------------------------


def install_finder(place: Place, program: str, arguments: Sequence[str]) -> None:
    command = shlex.join(["exec", "/bin/sh", str(place.scripts / "offload_from_finder.sh"), *arguments, "--"])
    template = HERE / "macos/QuickAction.workflow/Contents"
    workflow: dict[str, Any] = plistlib.loads((template / "document.wflow").read_bytes())
    parameters = workflow["actions"][0]["action"]["ActionParameters"]
    parameters["COMMAND_STRING"] = f'export PFNDISPATCHCOPY={shlex.quote(program)}\n{command} "$@"\n'
    contents = place.home / "Library/Services" / f"{ACTION}.workflow" / "Contents"
    put(contents / "document.wflow", plistlib.dumps(workflow))
    put(contents / "Info.plist", (template / "Info.plist").read_bytes())
    attempt("/System/Library/CoreServices/pbs", "-update")
    print(f"In the Finder: select cards or files, and choose Quick Actions, {ACTION}.")


def uninstall_finder(place: Place) -> None:
    shutil.rmtree(place.home / "Library/Services" / f"{ACTION}.workflow", ignore_errors=True)
    attempt("/System/Library/CoreServices/pbs", "-update")


def agent_path(place: Place) -> Path:
    return place.home / "Library/LaunchAgents" / f"{LABEL}.plist"


def install_launchd(place: Place, program: str, arguments: Sequence[str]) -> None:
    agent: dict[str, Any] = plistlib.loads((HERE / "macos" / f"{LABEL}.plist").read_bytes())
    agent["ProgramArguments"] = ["/bin/sh", str(place.scripts / "offload_on_mount.sh"), *arguments]
    notify = shlex.join(["/bin/sh", str(place.scripts / "notify.sh")])
    agent["EnvironmentVariables"] = {"PFNDISPATCHCOPY": program, "OFFLOAD_ON_FINISH": notify}
    logs = place.home / "Library/Logs"
    logs.mkdir(parents=True, exist_ok=True)
    agent["StandardErrorPath"] = str(logs / f"{LABEL}.errors.log")
    path = agent_path(place)
    if path.exists():
        attempt("launchctl", "bootout", f"gui/{os.getuid()}/{LABEL}")
    put(path, plistlib.dumps(agent, sort_keys=False))
    attempt("launchctl", "bootstrap", f"gui/{os.getuid()}", str(path))
    print(
        "macOS keeps agents from removable volumes until they are allowed to: in System Settings, Privacy & Security,"
        f" Full Disk Access, add {Path(program).resolve()}"
    )


def uninstall_launchd(place: Place) -> None:
    if agent_path(place).exists():
        attempt("launchctl", "bootout", f"gui/{os.getuid()}/{LABEL}")
    agent_path(place).unlink(missing_ok=True)


INSTALL = {
    "cron": install_cron,
    "systemd": install_systemd,
    "udev": install_udev,
    "finder": install_finder,
    "launchd": install_launchd,
}
UNINSTALL = {
    "cron": uninstall_cron,
    "systemd": uninstall_systemd,
    "udev": uninstall_udev,
    "finder": uninstall_finder,
    "launchd": uninstall_launchd,
}

if __name__ == "__main__":
    main()
