"""The look of all figures: colours, style, and how a figure is saved."""

from pathlib import Path

import seaborn as sns
from matplotlib.figure import Figure

# Okabe and Ito's colours; light to dark also in grey.
COLOURS = {"original": "#999999", "forget": "#E69F00", "remind": "#56B4E9", "restore": "#0072B2", "target": "#CC3311"}
STYLE = {"figure.dpi": 90, "savefig.dpi": 140, "font.size": 10, "axes.titlesize": 11}
RECIPES = {"default": COLOURS["restore"], "paper": COLOURS["forget"]}  # drawn larger than the baselines


def use_style() -> None:
    """The tutorial's look, for every figure made afterwards."""
    sns.set_theme(context="paper", style="whitegrid", palette="colorblind", rc=STYLE)


def short(name: str, length: int = 14) -> str:
    """A name that fits above a small picture, in which a $ is a $."""
    return (name if len(name) <= length else name[: length - 1] + "…").replace("$", r"\$")


def save(figure: Figure, folder: str | Path, name: str) -> Figure:
    """Write `folder/name.png` and hand the figure on."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    figure.savefig(Path(folder) / f"{name}.png", bbox_inches="tight")
    return figure
