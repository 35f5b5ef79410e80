"""One widget for every lesson: a control that looks up a picture drawn beforehand, and a question to answer with it.

Its output holds a sheet of the pictures, too, for where there are no widgets: on paper, in a committed notebook.
"""

import base64
import html
import io
import math
from collections.abc import Iterable, Sequence

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from IPython.core.pylabtools import print_figure
from matplotlib.figure import Figure
from PIL import Image
from tqdm.auto import tqdm


def png(figure: Figure, name: str = "") -> bytes:
    """The figure as PNG, at its own resolution, under a name; the figure is closed."""
    figure.text(0, 1, name, va="bottom", color="black", parse_math=False)
    plt.close(figure)
    return print_figure(figure)


def sheet(pictures: Sequence[bytes], most: int) -> bytes:
    """At most so many pictures, evenly spread, on one that is 1,000 pixels wide: a PNG."""
    shown = [pictures[round(i)] for i in np.linspace(0, len(pictures) - 1, min(most, len(pictures)))]
    images = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in shown]
    columns = 2 if len(images) > 1 and max(image.width for image in images) <= 1000 else 1
    for image in images:
        image.thumbnail((1000 // columns - 8, image.height))
    height = 8 + max(image.height for image in images)
    page = Image.new("RGB", (1000, height * math.ceil(len(images) / columns)), "white")
    for i, image in enumerate(images):
        page.paste(image, (i % columns * 1000 // columns + 4, i // columns * height))
    data = io.BytesIO()
    page.quantize(128).save(data, format="png", optimize=True)
    return data.getvalue()


class Browser(ipywidgets.VBox):
    """A box whose output is a picture, too: `still`, a PNG, for whoever has no widgets."""

    still: bytes = b""

    def _repr_mimebundle_(self, **kwargs):
        shown = super()._repr_mimebundle_(**kwargs)
        return shown and {**shown, "image/png": base64.b64encode(self.still).decode()}


def browse(question: str, frames: Iterable[tuple[str, Figure]], label: str, slider: bool = True) -> Browser:
    """A slider (or a menu) over pictures, the first of them shown; without widgets, a sheet of them.

    question: what the reader should find out by moving it
    frames:   (what the control shows, figure), in order; a generator keeps few figures open at a time
    label:    the control's name

    Raises ValueError without frames.
    """
    shown = tqdm(frames, desc="draw", leave=False, delay=1)
    pictures = {name: png(figure, f"{label}: {name}") for name, figure in shown}
    if not pictures:
        raise ValueError("A widget needs at least one picture to show.")
    image = ipywidgets.Image(value=next(iter(pictures.values())), format="png")
    kind = ipywidgets.SelectionSlider if slider else ipywidgets.Dropdown
    settings = {"continuous_update": False} if slider else {}
    control = kind(options=list(pictures), description=label, style={"description_width": "initial"}, **settings)
    control.observe(lambda change: image.set_trait("value", pictures[change["new"]]), names="value")
    box = Browser([ipywidgets.HTML(f"<b>{html.escape(question)}</b>"), control, image])
    box.still = sheet([*pictures.values()], most=3 if slider else 6)  # a slider's neighbours are nearly alike
    return box
