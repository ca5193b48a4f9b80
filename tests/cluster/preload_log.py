"""Loaded by a worker before it works: writes down which jobs it begins and ends."""

import os
from typing import Any

from pfndispatchcopy.engine import workplace

# It may be loaded twice.
_execute = getattr(workplace.execute, "stands_for", workplace.execute)


def execute(job: Any) -> Any:
    """What it stands for, with a line before and after it."""
    _tell("begin", job)
    report = _execute(job)
    _tell("end", job)
    return report


def _tell(what: str, job: Any) -> None:
    fd = os.open(os.environ["PFN_TEST_JOB_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, f"{what} {os.getpid()} {job.rows[0][0]}\n".encode())
    finally:
        os.close(fd)


execute.stands_for = _execute  # type: ignore[attr-defined]
workplace.execute = execute
