"""The method as one picture: three stages, what each trains and reads, and where the reader is."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from forgetkit.lab.figures import COLOURS

# Per stage: what is trained, what is frozen, what is minimised or chosen, and what comes out.
STAGES = {
    "forget": (
        "1  Forget", "adapters on $k$ late layers,\nby relative Fisher information", "all other weights",
        "$L_f$ on $D_f$, until it is\nno longer recognised",
    ),
    "remind": (
        "2  Remind", "adapters on the late layers,\naveraged over steps (EMA)", "early layers; the original\nteaches",
        "contrastive + distillation on $D_r$,\naligned to BatchNorm; guard on $D_f$",
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
    "$D_m$  calibration: a few of each": ("restore",),
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
