"""Draws the pictures of CLIP and of the method beside this file: `python docs/figures/method.py`.

towers.png: CLIP's two towers; story.png: three stages, what each trains and reads; story_STAGE.png: the same, with one
stage framed.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from PIL import Image

from forgetkit.lessons.figures import COLOURS, save, use_style

# Per stage: what is trained, what is frozen, what is minimised or chosen, and what comes out.
STAGES = {
    "forget": (
        "1  Forget", "adapters on $k$ layers,\nby relative Fisher information", "all other weights",
        "$L_f$ on $D_f$, until it is no longer\nrecognised (default: no stage 1)",
    ),
    "remind": (
        "2  Remind", "adapters on the last layers\n(paper: of stage 1; averaged, EMA)",
        "all other weights; the original\nteaches",
        "contrastive + distillation on $D_r$\n(paper: aligned to BatchNorm;\ndefault: + guard, MMD on $D_f$)",
    ),
    "restore": (
        "3  Restore", "nothing", "both models",
        r"$\alpha$ of the soup" + "\n" + r"$\alpha\,\theta_f+(1-\alpha)\,\theta_0$ on $D_m$",
    ),
}  # fmt: skip
ARROW = {"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0}
ROWS = ("trained", "frozen", "minimised,\nor chosen")
# Which sets each stage, and the table, reads.
READ = {
    "$D_f$  forget: images of the target": ("forget", "remind"),
    "$D_r$  retain: images of its siblings": ("forget", "remind"),
    "$D_m$  calibration: a few of each": ("forget", "remind", "restore"),
    "validation: to tune a recipe": (),
    "test: read once": ("table",),
}


def story(here: str = "") -> Figure:
    """The three stages from left to right and, below, which of the sets each reads; `here` is one of them, framed."""
    figure, axis = plt.subplots(figsize=(9.2, 4.6))
    axis.set(xlim=(0, 12.2), ylim=(-3.4, 4.2))
    axis.axis("off")
    for y, row in zip((2.35, 1.25, 0.25), ROWS):
        axis.text(1.55, y, row, ha="right", va="center", style="italic", fontsize=9, color="#555555")
    for i, (stage, (title, *lines)) in enumerate(STAGES.items()):
        left, centre = 1.9 + 3.3 * i, 3.35 + 3.3 * i
        frame = {"edgecolor": "black" if stage == here else COLOURS[stage], "linewidth": 3 if stage == here else 1.5}
        box = FancyBboxPatch((left, -0.4), 2.9, 4.1, boxstyle="round,pad=0.05", facecolor="white", **frame)
        axis.add_patch(box)
        axis.text(centre, 3.3, title, ha="center", va="center", weight="bold", color=COLOURS[stage], fontsize=12)
        for y, line in zip((2.35, 1.25, 0.25), lines):
            axis.text(centre, y, line, ha="center", va="center", fontsize=8.2)
        if stage == here:
            axis.text(centre, 4.02, "you are here", ha="center", va="center", fontsize=9)
        if i:
            axis.annotate("", (left - 0.05, 3.3), (left - 0.38, 3.3), arrowprops=ARROW)
    for y, (name, readers) in zip((-1.2, -1.7, -2.2, -2.7, -3.2), READ.items()):
        axis.text(0, y, name, va="center", fontsize=8.2)
        for stage, x in (*((stage, 3.35 + 3.3 * i) for i, stage in enumerate(STAGES)), ("table", 11.75)):
            read = stage in readers
            axis.plot(x, y, "o", ms=9, color=COLOURS.get(stage, "black") if read else "white", mec="#999999")
    axis.text(0, -0.72, "who reads which set", va="center", style="italic", fontsize=9, color="#555555")
    axis.text(11.75, -0.72, "the table", ha="center", va="center", fontsize=9)
    figure.tight_layout(pad=0.3)
    return figure


def towers(pairs: int = 4) -> Figure:
    """CLIP as a picture: two towers, the similarities of all images and texts of a batch, and what the loss wants."""
    figure, axis = plt.subplots(figsize=(9.2, 3.5))
    axis.set(xlim=(0, 12.4), ylim=(0.3, 4.4))
    axis.axis("off")
    step = 2.6 / pairs
    look = {"ha": "center", "va": "center", "fontsize": 9}
    z, t = r"$z_i=g_\mathrm{img}(x_i)\,/\,\Vert\cdot\Vert$", r"$t_j=g_\mathrm{txt}(\cdot)\,/\,\Vert\cdot\Vert$"
    rows = (
        (3.1, "images\n$x_i$", "image tower\n(ResNet or ViT)", z, "restore"),
        (0.8, "texts\n“a photo\nof a cat.”", "text tower\n(transformer)", t, "forget"),
    )
    for y, given, tower, made, colour in rows:
        axis.text(0.9, y + 0.5, given, **look)
        frame = {"boxstyle": "round,pad=0.05", "facecolor": "white", "edgecolor": COLOURS[colour], "lw": 2}
        axis.add_patch(FancyBboxPatch((2.1, y), 2.2, 1, **frame))
        axis.text(3.2, y + 0.5, tower, **{**look, "color": COLOURS[colour], "weight": "bold"})
        axis.text(5.5, y + 0.5, made, **look)
        axis.annotate("", (2, y + 0.5), (1.65, y + 0.5), arrowprops=ARROW)
        axis.annotate("", (4.75, y + 0.5), (4.4, y + 0.5), arrowprops=ARROW)
    for i in range(pairs):
        for j in range(pairs):
            fill = COLOURS["restore"] if i == j else "#eeeeee"
            at = (7.3 + j * step, 3.7 - (i + 1) * step)
            axis.add_patch(Rectangle(at, step, step, facecolor=fill, edgecolor="white"))
        axis.text(7.1, 3.7 - (i + 0.5) * step, f"$z_{i + 1}$", **look)
        axis.text(7.3 + (i + 0.5) * step, 3.9, f"$t_{i + 1}$", **look)
    axis.text(8.6, 0.75, "similarities $s\\,z_i\\cdot t_j$ of a batch", **look)
    wanted = "the contrastive loss:\neach image its text,\neach text its image.\n\nblue high,\ngrey low"
    axis.text(11.25, 2.4, wanted, **look)
    figure.tight_layout(pad=0.3)
    return figure


if __name__ == "__main__":
    use_style()
    here = Path(__file__).parent
    drawn = {"towers": towers(), "story": story(), **{f"story_{stage}": story(stage) for stage in STAGES}}
    for name, figure in drawn.items():
        save(figure, here, name)
        picture = Image.open(here / f"{name}.png").convert("RGB")
        picture.thumbnail((700, 700))
        picture.quantize(256).save(here / f"{name}.png", optimize=True)
