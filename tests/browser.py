"""A real browser without a window, asked through its own protocol: no package is needed for it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
COMMAND = next(filter(None, map(shutil.which, NAMES)), None)
needs_browser = pytest.mark.skipif(
    COMMAND is None,
    reason=f"none of {', '.join(NAMES)} is installed; `make test` installs it where apt-get may",
)
LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for target, end in zip((3, 4), ends):
    os.dup2(end, target)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""The browser reads requests from descriptor 3 and answers to 4."""

KEYS = {
    "ArrowDown": 40,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowLeft": 37,
    "Home": 36,
    "End": 35,
    "Enter": 13,
    "Tab": 9,
}


class Browser:
    """A browser with one page open."""

    _session: str | None = None

    def __init__(self, requests: RawIOBase, answers: RawIOBase) -> None:
        self._requests = requests
        self._answers = answers
        self._received = b""
        self._number = 0
        self._events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def open(self, page: Path, fragment: str = "") -> None:
        """Open a file and wait until all of it is there and its scripts have run."""
        self._events.clear()
        self.ask("Page.navigate", url="about:blank")
        self._wait_for("Page.loadEventFired")
        self._events.clear()
        self.ask("Page.navigate", url=page.resolve().as_uri() + fragment)
        self._wait_for("Page.loadEventFired")

    def value(self, script: str) -> Any:
        """Return what an expression of JavaScript gives in the page."""
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self) -> str:
        """Return the text of all that the page shows, though its own scripts may not run."""
        found = self.ask("DOMSnapshot.captureSnapshot", computedStyles=["display"])
        strings = found["strings"]
        shown = (
            strings[index]
            for page in found["documents"]
            for index in page["layout"]["text"]
            if index >= 0
        )
        return "".join(shown)

    def press(self, *keys: str) -> None:
        """Press keys one after the other, as a person does."""
        for key in keys:
            code = KEYS.get(key, ord(key[0].upper()))
            pressed = {"key": key, "windowsVirtualKeyCode": code}
            text = {"text": key} if len(key) == 1 else {}
            self.ask("Input.dispatchKeyEvent", type="keyDown", **pressed, **text)
            self.ask("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def point(self, selector: str) -> None:
        """Move the pointer over an element."""
        x, y = self.value(
            f"(() => {{const box = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]})()"
        )
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def resize(self, width: int, height: int) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def prefer(self, colours: str) -> None:
        """Set the colours that the system asks for: `light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": colours}]
        self.ask("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path) -> None:
        picture = self.ask("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(picture))

    def complaints(self) -> list[str]:
        """Return what the console says, errors that nobody caught included."""
        self.value("0")
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(event) for event in self._events if event["method"] in kinds]

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since the page was opened."""
        self.value("0")
        return [
            event["params"]["request"]["url"]
            for event in self._events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a request of the DevTools protocol and return the answer."""
        self._number += 1
        request = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            request["sessionId"] = self._session
        self._requests.write(json.dumps(request).encode() + b"\0")
        while True:
            message = self._receive()
            if message.get("id") == self._number:
                assert "error" not in message, (method, message["error"])
                return dict(message["result"])
            self._events.append(message)

    def _wait_for(self, method: str) -> None:
        while not any(event["method"] == method for event in self._events):
            self._events.append(self._receive())

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            received = self._answers.read(1 << 20)
            assert received, "the browser ended"
            self._received += received
        message, _, self._received = self._received.partition(b"\0")
        return dict(json.loads(message))


@contextmanager
def browser(home: Path) -> Iterator[Browser]:
    """Start a browser that keeps what it has to keep in a folder."""
    assert COMMAND is not None
    their_requests, our_requests = os.pipe()
    our_answers, their_answers = os.pipe()
    arguments = [
        COMMAND,
        "--headless",
        "--no-sandbox",
        "--remote-debugging-pipe",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--no-first-run",
        "--disable-extensions",
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={home}",
        "about:blank",
    ]
    ends = (their_requests, their_answers)
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, *map(str, ends), *arguments],
        pass_fds=ends,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(home)},
    )
    for end in ends:
        os.close(end)
    try:
        with (
            os.fdopen(our_requests, "wb", 0) as requests,
            os.fdopen(our_answers, "rb", 0) as answers,
        ):
            yield Browser(requests, answers)
    finally:
        process.kill()
        process.wait()
