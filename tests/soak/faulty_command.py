"""The command on a system whose calls fail, in whichever of its processes: started as a program, see ``running``.

What is to fail comes in the environment; that it did is told by a byte in a file for each failing call.
"""

import json
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pfndispatchcopy.cli.worker
import pfndispatchcopy.engine.workplace
from pfndispatchcopy.cli.main import console
from tests.faults.scenarios import Fault
from tests.support.tree_trial import TreeSystem

VARIABLE = "PFNDISPATCHCOPY_TEST_FAULT"
"""Where it is told what is to fail: where, nth, error, is_persistent, log."""


class _RealSystem(TreeSystem):
    """Takes rules, and passes for nothing that it is not."""

    _DISK: Mapping[str, Any] = {}


def _faulty_system() -> TreeSystem:
    told = json.loads(os.environ[VARIABLE])
    fault = Fault.at(told["where"], told["nth"], told["error"], is_persistent=told["is_persistent"])
    fail, lock = fault.action, threading.Lock()

    def tell_and_fail(real: Callable[[], Any], *arguments: Any) -> Any:
        with lock, open(told["log"], "ab") as log:
            log.write(b".")
        return fail(real, *arguments)

    fault.action = tell_and_fail
    system = _RealSystem()
    system.state.rules.append(fault)
    return system


if __name__ == "__main__":
    for module in (pfndispatchcopy.cli.worker, pfndispatchcopy.engine.workplace):
        module.native_system = _faulty_system  # type: ignore[attr-defined]
    console()
