"""Tables in README and docs, made from committed rows: `python -m forgetkit.report` rewrites them in place.

A block `<!-- table: NAME -->` ... `<!-- end -->` holds what `TABLES[NAME]` makes of `docs/results`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

FILES = ("README.md", "docs/method.md", "forgetkit/mini/README.md")
ACCURACIES = ["target", "retain", "other", "fashion", "quickdraw", "emoji"]


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table; floats to one decimal, NaN as nothing."""

    def cell(value) -> str:
        if isinstance(value, float):
            return "" if pd.isna(value) else f"{value:.1f}"
        return str(value)

    lines = [list(table.columns), ["---"] * len(table.columns), *table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(cell(v) for v in line) + " |" for line in lines)


def mini_clip(results: Path) -> str:
    """Zero-shot accuracy of the embedded model per set."""
    rows = pd.read_csv(results / "mini-clip.csv")
    names = {"set": "set", "images": "test images", "classes": "classes", "top1": "top-1 (%)", "chance": "chance (%)"}
    return markdown(rows[[*names]].rename(columns=names))


def quickstart(results: Path) -> str:
    """One line a subgroup: original → restored, mean over seeds; the worst seed where it counts."""
    rows = pd.read_csv(results / "quickstart.csv").query("recipe == 'default'")
    lines = []
    for subgroup, found in rows.groupby("subgroup", sort=False):
        before, after = (found[found["model"] == m] for m in ("original", "restore"))
        line = {"forget": subgroup}
        for name in ACCURACIES:
            line[name] = f"{before[name].mean():.1f} → {after[name].mean():.1f}"
        line["target"] += f" (worst {after['target'].max():.1f})"
        line["Score"] = f"{after['score'].mean():.1f} (worst {after['score'].min():.1f})"
        lines.append(line)
    return markdown(pd.DataFrame(lines))


def stages(results: Path) -> str:
    """One line a recipe and stage: mean over subgroups and seeds, as percent of the original's accuracy."""
    rows = pd.read_csv(results / "quickstart.csv")
    lines = []
    for recipe, found in rows.groupby("recipe", sort=False):
        keys = ["subgroup", "seed"]
        original = found[found["model"] == "original"].set_index(keys)[ACCURACIES]
        for model, part in found.groupby("model", sort=False):
            kept = (100 * part.set_index(keys)[ACCURACIES] / original).mean()
            name = {"recipe": recipe, "model": model}
            lines.append({**name, **kept, "Score": part["score"].mean(), "seconds": part["seconds"].mean()})
    return markdown(pd.DataFrame(lines))


TABLES = {"mini-clip": mini_clip, "quickstart": quickstart, "stages": stages}
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.S)


def render(text: str, root: Path) -> str:
    """The text with every block made anew from the rows below `root`."""
    return BLOCK.sub(lambda m: m[1] + TABLES[m[2]](root / "docs/results") + "\n" + m[3], text)


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    for name in FILES:
        file = root / name
        file.write_text(render(file.read_text(), root))


if __name__ == "__main__":
    main()
