"""A reader's browser: JupyterLab opens 04_restoring, runs it, and the alpha slider changes the figure."""

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
import websocket

# The slider is what is tested, so the stages before it are short.
SMALL = """
n_forget, n_retain = 40, 60
changes = {
    "forget": {"steps": 10, "fisher_samples": 10},
    "remind": {"steps": 4, "align_steps": 2, "n_noise": 20, "n_abstract": 20},
    "restore": {"alphas": [i / 10 for i in range(11)]},
}
"""
ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no browser: install chromium (Debian: apt-get install chromium)"),
]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Page:
    """A tab of headless Chromium, driven over its DevTools protocol."""

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


@pytest.fixture
def lab(tmp_path):
    """JupyterLab on a copy of the notebook, and a tab that shows it."""
    work = tmp_path / "notebooks"
    work.mkdir()
    notebook = nbformat.read(ROOT / "notebooks/04_restoring.ipynb", as_version=4)
    parameters = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    parameters.source += f"\n{SMALL}"
    nbformat.write(notebook, work / "04_restoring.ipynb")
    settings = tmp_path / "settings/@jupyterlab/notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')  # cells off the screen, too
    port, debug = free_port(), free_port()
    environment = {**os.environ, "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}",
            "--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={work}",
            f"--LabApp.user_settings_dir={tmp_path / 'settings'}", "--LabApp.expose_app_in_browser=True",
            "--LabApp.news_url=",
        ],
        env=environment, stdout=(tmp_path / "lab.log").open("w"), stderr=subprocess.STDOUT,
    )  # fmt: skip
    browser = None
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api")
                break
            except OSError:
                time.sleep(0.5)
        browser = subprocess.Popen(
            [
                CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1300,1000",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                f"--remote-debugging-port={debug}", f"--user-data-dir={tmp_path / 'profile'}",
                f"http://127.0.0.1:{port}/lab/tree/04_restoring.ipynb",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(60):
            try:
                page = Page(debug)
                break
            except (OSError, StopIteration):
                time.sleep(0.5)
        yield page
    finally:
        for process in (browser, server):
            if process:
                process.terminate()
                process.wait(30)


def test_the_alpha_slider_changes_the_figure(lab):
    lab.until("!!window.jupyterapp && !!document.querySelector('.jp-Notebook .jp-CodeCell')", 90, "the notebook opens")
    kernel = "jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status"
    lab.until(f"{kernel} === 'idle'", 90, "a kernel starts")
    lab.js("jupyterapp.commands.execute('notebook:run-all-cells'); true")
    handle, image = ".widget-slider .noUi-handle", "img.widget-image"
    lab.until(f"!!document.querySelector('{handle}') && !!document.querySelector('{image}')?.src", 500, "the widget")
    lab.until(f"{kernel} === 'idle'", 300, "the notebook ends")
    errors = "document.querySelectorAll('.jp-RenderedText[data-mime-type*=\"error\"]').length"
    assert lab.js(errors) == 0

    seen = {lab.js(f"document.querySelector('{image}').src")}
    for _ in range(5):
        before = lab.js(f"document.querySelector('{handle}').focus(); document.querySelector('{image}').src")
        for kind in ("keyDown", "keyUp"):
            lab.call("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39)
        other = f"(src => src !== {json.dumps(before)} && src)(document.querySelector('{image}').src)"
        seen.add(lab.until(other, 20, "another picture"))
    assert len(seen) == 6, "each step shows another picture"
