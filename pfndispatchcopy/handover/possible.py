"""Which digests a list can hold, and which wishes for lists cannot be met: said before anything is written."""

from collections.abc import Iterable

from pfndispatchcopy.errors import UsageError
from pfndispatchcopy.hashlists.asc import ASC_DIGESTS
from pfndispatchcopy.hashlists.legacy import LEGACY_DIGESTS
from pfndispatchcopy.hashlists.sums import SUM_DIGESTS
from pfndispatchcopy.model import STANDARD_INPUT, Mhl, Verify
from pfndispatchcopy.options import CopyOptions

__all__ = ["listable", "require_possible"]


def listable(mhl: Mhl, names: Iterable[str]) -> tuple[str, ...]:
    """Return those of some digests that a media hash list of this kind can hold."""
    held = {Mhl.ASC: ASC_DIGESTS, Mhl.LEGACY: LEGACY_DIGESTS, Mhl.NONE: {}}[mhl]
    return tuple(name for name in names if name in held)


def require_possible(options: CopyOptions, *, is_tree: bool, source: str = "") -> None:
    """Refuse wishes that contradict each other.

    Args:
        options: how to copy.
        is_tree: whether folders are copied, and not one file.
        source: of a single file.

    Raises:
        UsageError: what is wished for cannot be had.
    """
    if not options.hands_over:
        return
    for name in options.sums:
        if name not in SUM_DIGESTS:
            known = ", ".join(SUM_DIGESTS)
            raise UsageError(f"--sums {name}: no common tool checks such a file; choose from {known}")
    if options.quick_check:
        raise UsageError(
            "--quick-check reads nothing of what is there already, and --mhl and --sums need the digests of every file"
        )
    if options.mhl is Mhl.NONE:
        return
    wish = f"--mhl {options.mhl}"
    if options.verify is Verify.NONE:
        raise UsageError(f"{wish} lists what was verified; it does not go with --verify none")
    if not is_tree and source == STANDARD_INPUT:
        raise UsageError(f"{wish} does not go with standard input, which has no name and no date to be listed by")
    if not is_tree and options.mhl is Mhl.ASC:
        raise UsageError("--mhl asc describes folders; for a single file there is --mhl legacy")
    if not listable(options.mhl, options.hashes):
        known = ", ".join(ASC_DIGESTS if options.mhl is Mhl.ASC else LEGACY_DIGESTS)
        raise UsageError(
            f"{wish} holds no {', '.join(options.hashes)}: ask with -t for at least one of {known} as well"
        )
