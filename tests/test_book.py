"""`make book`: README, docs and lessons as one site, built without a warning, and read in a browser."""

import re
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browser import needs_browser, opened

import forgetkit

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("myst_nb") is None, reason="no tools for the book: pip install -e .[book]"),
]
PAGES = ("index.html", "notebooks/00_quickstart.html", "docs/method.html")


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    work = tmp_path_factory.mktemp("book")
    command = ["-m", "sphinx", "-qW", "--keep-going", "-c", "docs/book", "-d", work / "read", ".", work / "book"]
    done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return work / "book"


def test_every_picture_of_a_lesson_has_an_alternative_text(book):
    for page in (book / "notebooks").rglob("*.html"):
        images = re.findall(r"<img[^>]+>", page.read_text(encoding="utf-8"))
        assert not [image for image in images if not re.search(r'alt="(?!\.\./)[^"]{6,}"', image)], page


class Names(HTMLParser):
    """What a page links to or shows, and the names in it that can be linked to."""

    def __init__(self, file: Path):
        super().__init__()
        self.links, self.names = [], set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.links += [found[key] for key in ("href", "src") if found.get(key)]
        self.names |= {found[key] for key in ("id", "name") if found.get(key)}


def test_no_internal_link_is_broken(book):
    pages = {file: Names(file) for file in book.rglob("*.html") if "_static" not in file.parts}
    assert len(pages) > 35
    broken = []
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            to = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            wanted = unquote(parts.fragment)
            if not to.exists() or (wanted and to in pages and wanted not in pages[to].names):
                broken.append(f"{file.relative_to(book)}: {link}")
    assert not broken


def test_every_public_name_is_in_the_reference(book):
    names = Names(book / "docs/book/api.html").names
    ends = {name.rpartition(".")[2] for name in names if name.startswith("forgetkit")}
    assert set(forgetkit.__all__) <= ends


@needs_browser
def test_pages_show_their_pictures_and_formulas_and_are_readable_on_a_phone(book, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=book))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = f"http://127.0.0.1:{server.server_port}"
    try:
        with opened("about:blank", tmp_path / "profile") as page:
            page.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
            for name in PAGES:
                page.goto(f"{home}/{name}")
                images = "[...document.querySelectorAll('article img')]"
                page.until(f"{images}.every(i => (i.loading = 'eager', i.complete))", 20, f"the pictures of {name}")
                assert page.js(f"{images}.filter(i => !i.naturalWidth).map(i => i.src)") == [], name
                assert (
                    page.js(f"{images}.filter(i => !i.alt || i.alt == i.getAttribute('src')).map(i => i.src)") == []
                ), name
                assert page.js(f"{images}.length") or name == "docs/method.html", f"{name} has pictures"
                assert page.js("document.documentElement.scrollWidth") <= 390, f"{name} is wider than a phone"
                text = "[...document.querySelectorAll('article p')].find(p => p.innerText.length > 200)"
                assert page.js(f"parseFloat(getComputedStyle({text}).fontSize)") >= 14, name
                left, right = page.js(f"(r => [r.left, r.right])({text}.getBoundingClientRect())")
                assert 0 <= left and right <= 390 and right - left >= 300, name
            page.until("document.querySelectorAll('mjx-container').length > 10", 30, "formulas of docs/method.html")
            page.goto(f"{home}/search.html?q=soup")
            found = "[...document.querySelectorAll('#search-results li a')].map(a => a.innerText).join()"
            page.until(f"{found}.includes('Restoring')", 30, "the search finds the lesson")
    finally:
        server.shutdown()
