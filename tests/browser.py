"""A reader's browser: headless Chromium, driven over its DevTools protocol."""

import itertools
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import websocket

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no browser: install chromium (Debian: apt-get install chromium)"
)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Page:
    """A tab of the browser that listens at this port."""

    def __init__(self, port: int):
        url = f"http://127.0.0.1:{port}/json"
        tab = next(t for t in json.load(urllib.request.urlopen(url)) if t["type"] == "page")
        self.socket = websocket.create_connection(tab["webSocketDebuggerUrl"], suppress_origin=True, timeout=60)
        self.ids = itertools.count()

    def call(self, method: str, **params):
        number = next(self.ids)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (answer := json.loads(self.socket.recv())).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def js(self, expression: str):
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression: str, seconds: float, what: str):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.js(expression):
                return value
            time.sleep(0.5)
        pytest.fail(f"{what}: not within {seconds} s")

    def goto(self, url: str) -> None:
        """Open another page, and wait until it and its pictures are loaded."""
        self.call("Page.navigate", url=url)
        self.until(f"location.href === {json.dumps(url)} && document.readyState === 'complete'", 30, url)


@contextmanager
def opened(url: str, profile: Path) -> Iterator[Page]:
    """A tab that shows `url`; the browser's own files go to the folder `profile`."""
    debug = free_port()
    browser = subprocess.Popen(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1300,1000",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--remote-debugging-port={debug}", f"--user-data-dir={profile}", url,
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(60):
            try:
                page = Page(debug)
                break
            except (OSError, StopIteration):
                time.sleep(0.5)
        yield page
    finally:
        browser.terminate()
        browser.wait(30)
