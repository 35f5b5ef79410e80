"""Sphinx's settings for `make book`: README, docs and executed lessons as one static site; nothing is executed."""

import inspect
import re
import shutil
from pathlib import Path

from docutils import nodes

import forgetkit

ROOT = Path(__file__).resolve().parents[2]
project, version = "forgetkit", forgetkit.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx-mathjax-offline"]
root_doc = "README"  # the front page; TREE is added to it
include_patterns = [
    "*.md", "docs/*.md", "docs/book/*.md", "docs/results/*.md", "notebooks/*.ipynb", "notebooks/solutions/*.ipynb",
    "notebooks/sweeps/*.ipynb",
    "forgetkit/models/mini/README.md",
]  # fmt: skip
exclude_patterns = [".*", "**/.*", "build", "dist", "runs", "notebooks/runs", "tests", "forgetkit-lessons"]
html_theme, html_title = "furo", "forgetkit"
html_show_copyright = False

nb_execution_mode = "off"  # notebooks are committed executed
nb_output_stderr = "remove"
nb_render_markdown_format = "myst"  # sentences that a cell made have formulas, too
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
suppress_warnings = ["myst.header"]  # a notebook's first heading below a picture, such as ###

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": False}

TREE = """
```{toctree}
:hidden:
:caption: Lessons
:glob:

notebooks/a_clip_in_five_cells
notebooks/0*
notebooks/1*
```

```{toctree}
:hidden:
:caption: Pages

docs/method
docs/glossary
docs/benchmark
docs/audit
docs/troubleshooting
docs/adapting
docs/models
docs/imagenet
docs/batches
forgetkit/models/mini/README
```

```{toctree}
:hidden:
:caption: Reference

docs/book/api
docs/results/README
docs/development
CONTRIBUTING
SECURITY
CHANGELOG
docs/book/solutions
```
"""
MERMAID = re.compile(r"^```mermaid$", re.M)


def read(app, name: str, text: list[str]) -> None:
    """Pages as Sphinx takes them: the front page with its tree, links to folders as links to what shows them."""
    if name == root_doc:
        text[0] = text[0].replace("(notebooks/solutions)", "(docs/book/solutions.md)") + TREE
    if not name.startswith("notebooks/"):
        text[0] = MERMAID.sub("```text", text[0])


def as_rst(app, what, name, object, options, lines: list[str]) -> None:
    """Docstrings here are plain text: paragraphs are set as such, lists of arguments and equations line by line."""
    paragraphs = inspect.cleandoc("\n".join(lines)).split("\n\n")
    lines.clear()
    for paragraph in paragraphs:
        escaped = re.sub(r"([\\*|_])", r"\\\1", paragraph)
        escaped = re.sub(r"`([^`\n]+)`", lambda m: "``" + re.sub(r"\\(.)", r"\1", m[1]) + "``", escaped)
        table = re.search(r"^\s|^\S[^.\n]*: ", paragraph, re.M)
        rows = [f"| {line}" for line in escaped.split("\n")] if table else escaped.split("\n")
        lines += [*rows, ""]


def alternative_texts(app, doctree) -> None:
    """What a cell has drawn gets a text for whoever cannot see it: the section, and the name that it is saved under."""
    for image in doctree.findall(nodes.image):
        if image.get("alt"):
            continue
        above, cell = image.parent, None
        while above is not None and not isinstance(above, nodes.section):
            above, cell = above.parent, above if "cell" in above.get("classes", ()) else cell
        title = above.next_node(nodes.title).astext() if above is not None else ""
        saved = re.search(r'out, "(\w+)"', cell.astext()) if cell is not None else None
        image["alt"] = f"Figure {saved[1] if saved else ''} of the section {title}".replace("  ", " ")


def front_page(app, error) -> None:
    """The front page under the name that a browser looks for."""
    if error is None:
        shutil.copyfile(Path(app.outdir, f"{root_doc}.html"), Path(app.outdir, "index.html"))


def setup(app) -> None:
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", as_rst)
    app.connect("doctree-read", alternative_texts)
    app.connect("build-finished", front_page)
