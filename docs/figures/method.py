"""Draws the pictures of CLIP and of the method beside this file: `python docs/figures/method.py`.

towers.png: CLIP's two towers; default.png and paper.png: a recipe's stages, their data, layers, losses, and who reads
which set, with the values of `forgetkit.recipe`; story_STAGE.png: the same, with one stage framed.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from forgetkit.lessons.figures import COLOURS, save, use_style
from forgetkit.recipe import Recipe, Remind

ARROW = {"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0}
NAMES = {"default": "default: ours", "paper": "paper: as published; * not published, ours"}
TITLES = {"forget": "1  Forget", "remind": "2  Remind", "restore": "3  Restore"}
WIDTH, LINE = 4.3, 0.172  # inches: text of 8 points is legible where the picture is 390 pixels wide


def terms(recipe: Remind) -> list[tuple[str, str, str]]:
    """Stage 2's loss: what a term is, on which images, its weight."""
    published = bool(recipe.align_steps)
    d_r = "$D_r$ aligned" if published else "$D_r$"
    found = [
        ("contrastive", d_r, 1.0),
        ("distillation" + ("*" if published else ""), d_r, recipe.distill),
        (
            "feature distillation" + ("*" if published else ""),
            d_r + ", classless images" * bool(recipe.n_abstract),
            recipe.feature,
        ),
        ("guard (a hinge)", "$D_f$", recipe.guard),
        ("distillation, target removed", "$D_f$", recipe.distill if recipe.guard else 0.0),
        ("MMD to $D_r$", "$D_f$ with a label of its own", recipe.mmd),
    ]
    return [(name, on, f"{weight:g}") for name, on, weight in found if weight]


def plan(recipe: Recipe) -> dict[str, list[tuple[str, ...]]]:
    """The rows of each stage's box: what a row is about, and what it says."""
    forget, remind, restore = recipe.forget, recipe.remind, recipe.restore
    guess = "*" if recipe.name == "paper" else ""
    one = [("", "left out: stage 2 starts from the original")]
    if forget.steps:
        one = [
            ("data", "$D_f$"),
            ("learns", f"adapters on $k$ = {forget.k}{guess} layers of all, those of the"),
            ("", "highest relative Fisher information ($D_f$ : $D_r$)"),
            ("frozen", "all other weights, BatchNorm, the text tower"),
            ("loss", "mean similarity of $D_f$ to the target's text"),
            ("stop", f"at most {forget.stop:g} %{guess} of $D_f$ are recognised"),
        ]
    data = [("data", f"$D_r$, aligned to BatchNorm in {remind.align_steps}{guess} steps")]
    if not remind.align_steps:
        data = [
            ("data", f"$D_f$ and $D_r$, mirrored, and in {remind.crops} random crops"),
            ("", f"{remind.n_abstract} classless images, made of $D_r$ or drawn"),
        ]
    learns = f"adapters on the last {100 * remind.trainable_fraction:g} % of all matrices{guess}"
    rows = [("learns", learns), *([] if guess else [("", "(the projection behind the attention pool alone)")])]
    average = f"the average (EMA, decay {remind.ema_decay:g}{guess})" if remind.ema_decay else "the last weights"
    two = [
        *data,
        *rows,
        ("frozen", "all other weights, BatchNorm, the text tower"),
        *(("loss" if i == 0 else "", *term) for i, term in enumerate(terms(remind))),
        ("steps", f"{remind.steps}{guess}; kept: {average}"),
    ]
    near = "largest" + guess + r" $\alpha$ within half a point of the best"
    three = [
        ("learns", "nothing"),
        ("blend", r"$\alpha\,\theta_f+(1-\alpha)\,\theta_0$"),
        ("choice", near + " on $D_m$"),
    ]
    if restore.strengths:
        three += [("then", "within one label: a plane edit of the last layer")]
    return {"forget": one, "remind": two, "restore": three}


def readers(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """What the three stages, and the table, read a set for; a sentence where none does."""
    first, back = bool(recipe.forget.steps), recipe.remind.drift is not None
    plane = "plane, choice" if recipe.restore.strengths else "–"
    return {
        "$D_f$  target": ("Fisher, loss, stop" if first else "–", "loss" if recipe.remind.guard else "–", plane, "–"),
        "$D_r$  siblings": ("Fisher" if first else "–", "loss", plane, "–"),
        "$D_m$  mixed": ("pace" if first else "–", "pace, rollback" if back else "pace", "choice", "–"),
        "validation": ("no stage: it served to choose the recipe",),
        "test": ("–", "–", "–", "once"),
    }


def story(recipe: Recipe, here: str = "") -> Figure:
    """The stages of a recipe from top to bottom, and which sets each reads; `here`: the stage that is framed."""
    boxes, read = plan(recipe), readers(recipe)
    lines = sum(len(rows) + 2.3 for rows in boxes.values()) + len(read) + 3.6
    figure = plt.figure(figsize=(WIDTH, lines * LINE))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, WIDTH), ylim=(lines, 0))
    axis.axis("off")
    axis.text(0.08, 0.9, NAMES[recipe.name], va="center", weight="bold", fontsize=9.5)
    y = 2.0
    for stage, rows in boxes.items():
        frame = {"edgecolor": "black" if stage == here else COLOURS[stage], "linewidth": 2.5 if stage == here else 1.5}
        axis.add_patch(Rectangle((0.08, y), WIDTH - 0.16, len(rows) + 1.6, facecolor="white", **frame))
        axis.text(0.18, y + 0.85, TITLES[stage], va="center", weight="bold", color=COLOURS[stage], fontsize=9.5)
        if stage == here:
            axis.text(WIDTH - 0.18, y + 0.85, "you are here", va="center", ha="right", fontsize=8)
        for i, (about, said, *more) in enumerate(rows):
            at = y + 1.9 + i
            axis.text(0.18, at, about, va="center", style="italic", fontsize=8, color="#555555")
            axis.text(0.72, at, said, va="center", fontsize=8)
            for x, word in zip((2.45, WIDTH - 0.18), more):
                axis.text(x, at, word, va="center", ha="right" if x > 3 else "left", fontsize=8)
        y += len(rows) + 2.3
        if stage != "restore":
            axis.annotate("", (WIDTH / 2, y), (WIDTH / 2, y - 0.7), arrowprops=ARROW)
    columns = (1.55, 2.45, 3.3, 3.95)
    axis.text(0.08, y + 0.6, "who reads what", va="center", style="italic", fontsize=8, color="#555555")
    for x, name in zip(columns, ("1", "2", "3", "table")):
        axis.text(x, y + 0.6, name, va="center", ha="center", weight="bold", fontsize=8)
    for i, (name, uses) in enumerate(read.items()):
        axis.text(0.08, y + 1.7 + i, name, va="center", fontsize=8)
        for x, use in zip(columns if len(uses) > 1 else (2.8,), uses):
            axis.text(x, y + 1.7 + i, use, va="center", ha="center", fontsize=8)
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
    here, ours, published = Path(__file__).parent, Recipe.default(), Recipe.paper()
    drawn = {"towers": (towers(), None), "default": (story(ours), ours), "paper": (story(published), published)}
    framed = {"forget": published, "remind": ours, "restore": ours}  # each by a recipe that has the stage
    drawn |= {f"story_{stage}": (story(recipe, stage), recipe) for stage, recipe in framed.items()}
    for name, (figure, recipe) in drawn.items():
        save(figure, here, name)
        picture, values = Image.open(here / f"{name}.png").convert("RGB"), PngInfo()
        values.add_text("recipe", repr(recipe))  # a test compares: a picture of other values is stale
        picture.thumbnail((700, 1400))
        picture.quantize(256).save(here / f"{name}.png", optimize=True, pnginfo=values)
