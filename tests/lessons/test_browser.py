"""A reader's browser: JupyterLab opens 06_restoring, runs it, and the alpha slider changes the figure."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from browser import free_port, needs_browser, opened

# The slider is what is tested, so the stages before it are short.
SMALL = """
n_forget, n_retain = 40, 60
changes = {
    "forget": {"steps": 10, "fisher_samples": 10},
    "remind": {"steps": 4, "align_steps": 2, "n_abstract": 20},
    "restore": {"alphas": [i / 10 for i in range(11)]},
}
"""
ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, needs_browser]


@pytest.fixture
def lab(tmp_path):
    """JupyterLab on a copy of the notebook, and a tab that shows it."""
    work = tmp_path / "notebooks"
    work.mkdir()
    notebook = nbformat.read(ROOT / "notebooks/06_restoring.ipynb", as_version=4)
    parameters = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    parameters.source += f"\n{SMALL}"
    nbformat.write(notebook, work / "06_restoring.ipynb")
    settings = tmp_path / "settings/@jupyterlab/notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')  # cells off the screen, too
    port = free_port()
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
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api")
                break
            except OSError:
                time.sleep(0.5)
        with opened(f"http://127.0.0.1:{port}/lab/tree/06_restoring.ipynb", tmp_path / "profile") as page:
            yield page
    finally:
        server.terminate()
        server.wait(30)


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
