"""One widget for every lesson: a control that looks up a picture drawn beforehand, and a question to answer with it.

Pictures are rendered when the cell runs, so that nothing is computed while the control moves: it only swaps bytes.
Beside each widget a lesson shows a static figure that says the same, for paper and papermill.
"""

from __future__ import annotations

import html
import io
from collections.abc import Iterable

import ipywidgets
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from tqdm.auto import tqdm


def png(figure: Figure) -> bytes:
    """The figure as PNG, at its own resolution; the figure is closed."""
    data = io.BytesIO()
    figure.savefig(data, format="png", bbox_inches="tight", dpi=figure.dpi)
    plt.close(figure)
    return data.getvalue()


def browse(question: str, frames: Iterable[tuple[str, Figure]], label: str, slider: bool = True) -> ipywidgets.VBox:
    """A slider (or a menu) over pictures, the first of them shown.

    question: what the reader should find out by moving it
    frames:   (what the control shows, figure), in order; a generator keeps few figures open at a time
    label:    the control's name

    Raises ValueError without frames.
    """
    pictures = {name: png(figure) for name, figure in tqdm(frames, desc="draw", leave=False, delay=1)}
    if not pictures:
        raise ValueError("A widget needs at least one picture to show.")
    image = ipywidgets.Image(value=next(iter(pictures.values())), format="png")
    kind = ipywidgets.SelectionSlider if slider else ipywidgets.Dropdown
    settings = {"continuous_update": False} if slider else {}
    control = kind(options=list(pictures), description=label, style={"description_width": "initial"}, **settings)

    def show(change):
        image.value = pictures[change["new"]]

    control.observe(show, names="value")
    return ipywidgets.VBox([ipywidgets.HTML(f"<b>{html.escape(question)}</b>"), control, image])
