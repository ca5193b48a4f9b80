"""Who writes the lists: this program, run by a user on a machine."""

from pfndispatchcopy import __version__
from pfndispatchcopy.fileio.system import System
from pfndispatchcopy.hashlists.entries import Creator

__all__ = ["this_program"]


def this_program(system: System) -> Creator:
    """Return what lists say of who wrote them."""
    user, full_name = system.user()
    return Creator("pfndispatchcopy", __version__, user, full_name, system.host_name() or "unknown")
