"""Begins the single file: unpacks what is in it, the first time, and runs that.

The compiled parts of what it needs cannot be loaded out of an archive. They fit one version of Python on one kind of
machine, which is checked here, so this has to be readable for older ones as well.
"""

import os
import stat
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Iterator, NoReturn

NAME = "pfndispatchcopy"


def refuse(reason: str) -> NoReturn:
    """End as the command itself does when it cannot begin."""
    sys.stderr.write("%s: error: %s\n" % (NAME, reason))
    sys.exit(2)


def fits() -> str:
    """Return what compiled parts have to be made for here."""
    machine = os.uname().machine if hasattr(os, "uname") else ""
    return "python%d.%d %s %s" % (sys.version_info[0], sys.version_info[1], EXTENSION_SUFFIXES[0], machine)


def cache_folders() -> Iterator[str]:
    """Name the folders to unpack to, the best first."""
    home = os.path.expanduser("~")
    if sys.platform == "darwin":
        yield os.path.join(home, "Library", "Caches", NAME)
    elif os.name == "nt":
        yield os.path.join(os.environ.get("LOCALAPPDATA") or home, NAME)
    else:
        yield os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache"), NAME)
    # No home that can be written to: a job of cron, a service.
    user = str(os.getuid()) if hasattr(os, "getuid") else ""
    yield os.path.join(os.environ.get("TMPDIR") or "/tmp", "%s-%s" % (NAME, user))  # noqa: S108 - checked below


def is_own(folder: str) -> bool:
    """Tell whether nobody else can have put anything there."""
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode):
        return False
    return os.name == "nt" or (status.st_uid == os.geteuid() and not status.st_mode & 0o022)


def unpack(archive: str, digest: str) -> str:
    """Return a folder with everything in it."""
    reason = OSError()
    mask = os.umask(0o077)
    try:
        for folder in cache_folders():
            place = os.path.join(folder, digest)
            try:
                os.makedirs(folder, exist_ok=True)
                if not is_own(folder):
                    raise OSError("%s belongs to somebody else, or others can write there" % folder)
                if not os.path.isdir(place):
                    extract(archive, place)
                return place
            except OSError as error:
                reason = error
    finally:
        os.umask(mask)
    refuse("there is no folder to unpack to: %s" % reason)


def extract(archive: str, place: str) -> None:
    """Unpack to *place*, whole or not at all."""
    import shutil
    import zipfile

    new = "%s.%d" % (place, os.getpid())
    try:
        with zipfile.ZipFile(archive) as whole:
            whole.extractall(new, [name for name in whole.namelist() if name.startswith("lib/")])
        os.rename(new, place)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        if not os.path.isdir(place):  # another run was quicker
            raise


def main() -> None:
    """Run the command."""
    archive = __loader__.archive  # type: ignore[name-defined] # the archive's own
    made_for, digest = __loader__.get_data(os.path.join(archive, "MADE_FOR")).decode().splitlines()  # type: ignore[name-defined]
    if made_for != fits():
        python = made_for.split()[0]
        if python.partition("n")[2] != "%d.%d" % sys.version_info[:2]:
            try:
                os.execvp(python, [python, archive, *sys.argv[1:]])  # noqa: S606
            except OSError:
                pass
        refuse("this file was made for %s, and this is %s; `make pyz` makes one on such a machine" % (made_for, fits()))
    sys.path.insert(0, os.path.join(unpack(archive, digest), "lib"))
    from pfndispatchcopy.cli.main import console

    console()


if __name__ == "__main__":
    main()
