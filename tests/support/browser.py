"""A headless Chromium, driven over a pair of pipes (``--remote-debugging-pipe``): no port, no other library."""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = ["CHROMIUM", "Page", "open_browser"]

CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
_PATIENCE_S = 60.0


class Page:
    """One page.

    Attributes:
        complaints: what the console says, exceptions, and what the policy of the page has forbidden.
        requests: addresses that it has asked for.
    """

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self._data = b""
        self._number = 0
        self._session: str | None = None
        self._events: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        data = memoryview(json.dumps(message).encode() + b"\0")
        while data:
            data = data[os.write(self._writing, data) :]
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._take(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._data:
            assert select.select([self._reading], [], [], _PATIENCE_S)[0], "the browser does not answer"
            more = os.read(self._reading, 1 << 20)
            assert more, "the browser has ended"
            self._data += more
        line, _, self._data = self._data.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def _take(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Log.entryAdded":
            self.complaints.append(parameters["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(json.dumps(parameters["args"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        self._events.append(event)

    def open(self, path: Path, fragment: str = "", *, has_scripts: bool = True) -> float:
        """Open a file, wait until it has loaded and is drawn, and return the seconds that this took."""
        self._events.clear()
        began = time.monotonic()
        self.call("Page.navigate", url=path.absolute().as_uri() + fragment)
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            assert time.monotonic() - began < _PATIENCE_S
            self._take(self._next())
        if not has_scripts:  # nobody could say that it is drawn
            return time.monotonic() - began
        self.value("new Promise(done => requestAnimationFrame(() => setTimeout(() => done(1), 0)))")
        return time.monotonic() - began

    def value(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """What stands in the elements that a selector finds."""
        found: list[str] = self.value(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.innerText)")
        return found

    def click(self, selector: str) -> None:
        """Click the first element that a selector finds."""
        self.value(f"document.querySelector({json.dumps(selector)}).click()")

    def wear(self, scheme: str, media: str = "screen") -> None:
        """Prefer ``light`` or ``dark``, on a screen or on paper (``print``)."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def size(self, width: int, height: int, scale: float = 1.0) -> None:
        """Make the window as large as this."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write what is to be seen as PNG."""
        parameters: dict[str, Any] = {"format": "png", "captureBeyondViewport": whole}
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **parameters)["data"]))

    def paper(self, path: Path) -> None:
        """Print the page as PDF, in the size that it asks for."""
        printed = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
        path.write_bytes(base64.b64decode(printed["data"]))


@contextmanager
def open_browser(folder: Path, *options: str) -> Iterator[Page]:
    """Start the browser with a fresh profile in *folder*; it ends with all of its processes."""
    assert CHROMIUM is not None
    to_read, to_write = os.pipe(), os.pipe()

    def place_pipes() -> None:
        # Through numbers that are out of the way: one of the four may be 3 or 4.
        ends = os.dup2(to_read[0], 90), os.dup2(to_write[1], 91)
        os.dup2(ends[0], 3)
        os.dup2(ends[1], 4)
        os.close(90)
        os.close(91)

    process = subprocess.Popen(
        [
            CHROMIUM,
            "--headless=new",
            "--remote-debugging-pipe",
            f"--user-data-dir={folder}/profile",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            *("--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb", "--disable-breakpad"),
            *("--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage"),
            *options,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,  # what is ours is closed by the program's start anyway
        preexec_fn=place_pipes,  # noqa: PLW1509 - nothing but this runs in the child before the browser
        start_new_session=True,
        env={**os.environ, "HOME": str(folder)},
    )
    os.close(to_read[0])
    os.close(to_write[1])
    try:
        yield Page(to_write[0], to_read[1])
    finally:
        os.close(to_read[1])
        os.close(to_write[0])
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
