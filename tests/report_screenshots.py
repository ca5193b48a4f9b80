"""The pictures of the report in ``docs/``, light and dark: ``python -m tests.report_screenshots``.

What is shown is the demonstration: a day's card on three destinations, one of which fills up. Needs Chromium.
"""

import os
import sys
import tempfile
from pathlib import Path

from tests.support.browser import CHROMIUM, open_browser
from tests.support.report_trial import demonstration

_DOCS = Path(__file__).parents[1] / "docs"
_WIDTH, _HEIGHT = 1080, 1320
_MOST_BYTES = 200_000


def main() -> int:
    """Make them; returns the exit code."""
    if CHROMIUM is None:
        sys.stderr.write("no Chromium here: install the Debian package `chromium`, or Chrome\n")
        return 1
    os.environ["TZ"] = "UTC"
    with tempfile.TemporaryDirectory() as folder, open_browser(Path(folder)) as page:
        told, exit_code, planned = demonstration()
        report = told.write(Path(folder) / "day1.html", exit_code, planned)
        page.size(_WIDTH, _HEIGHT)
        for scheme in ("light", "dark"):
            page.wear(scheme)
            page.open(report)
            path = _DOCS / f"report-{scheme}.png"
            page.picture(path)
            size = path.stat().st_size
            sys.stdout.write(f"{path.name}: {size} bytes\n")
            if size > _MOST_BYTES or page.complaints:
                sys.stderr.write(f"{path.name}: too large, or the browser complains: {page.complaints}\n")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
