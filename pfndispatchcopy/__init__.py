"""Copy a file to several destinations at once and prove that every copy is good.

The names below are the public interface. They are loaded on first use, so that
``import pfndispatchcopy`` and ``pfndispatchcopy --version`` cost next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pfndispatchcopy.api import (
        check_hash_lists,
        copy_tree_with_multiple_destinations,
        copy_with_multiple_destinations,
        copy_with_multiple_destinations_parallel,
    )
    from pfndispatchcopy.engine.chunks import ChunkData
    from pfndispatchcopy.engine.writers import ParallelWriter
    from pfndispatchcopy.errors import (
        ExitCode,
        PfnDispatchCopyError,
        RefusedError,
        UsageError,
    )
    from pfndispatchcopy.hashing import HashCalculator
    from pfndispatchcopy.model import (
        CheckedResult,
        CheckResult,
        Conflict,
        CopyResult,
        DestinationResult,
        Mhl,
        Notice,
        Preserve,
        ReadBack,
        State,
        Strategy,
        Symlinks,
        TreeDestinationResult,
        TreeResult,
        Verify,
        VerifySource,
    )
    from pfndispatchcopy.options import CopyOptions
    from pfndispatchcopy.progress import ProgressTracker

__version__ = "0.1.0"

__all__ = [
    "CheckResult",
    "CheckedResult",
    "ChunkData",
    "Conflict",
    "CopyOptions",
    "CopyResult",
    "DestinationResult",
    "ExitCode",
    "HashCalculator",
    "Mhl",
    "Notice",
    "ParallelWriter",
    "PfnDispatchCopyError",
    "Preserve",
    "ProgressTracker",
    "ReadBack",
    "RefusedError",
    "State",
    "Strategy",
    "Symlinks",
    "TreeDestinationResult",
    "TreeResult",
    "UsageError",
    "Verify",
    "VerifySource",
    "__version__",
    "check_hash_lists",
    "copy_tree_with_multiple_destinations",
    "copy_with_multiple_destinations",
    "copy_with_multiple_destinations_parallel",
]

_ROOM_OF = {
    "CheckResult": "model",
    "CheckedResult": "model",
    "ChunkData": "engine.chunks",
    "Conflict": "model",
    "CopyOptions": "options",
    "CopyResult": "model",
    "DestinationResult": "model",
    "ExitCode": "errors",
    "HashCalculator": "hashing",
    "Mhl": "model",
    "Notice": "model",
    "ParallelWriter": "engine.writers",
    "PfnDispatchCopyError": "errors",
    "Preserve": "model",
    "ProgressTracker": "progress",
    "ReadBack": "model",
    "RefusedError": "errors",
    "State": "model",
    "Strategy": "model",
    "Symlinks": "model",
    "TreeDestinationResult": "model",
    "TreeResult": "model",
    "UsageError": "errors",
    "Verify": "model",
    "VerifySource": "model",
    "check_hash_lists": "api",
    "copy_tree_with_multiple_destinations": "api",
    "copy_with_multiple_destinations": "api",
    "copy_with_multiple_destinations_parallel": "api",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its room on first use (PEP 562)."""
    room = _ROOM_OF.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{room}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
