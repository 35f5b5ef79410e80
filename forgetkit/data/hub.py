"""A data set of Hugging Face's `datasets` as pictures and a CSV, which `scan` and `--data-dir` take as any of yours."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from PIL import Image

from forgetkit.data.images import DataError
from forgetkit.data.layouts import PART_OF


def export(data, folder: str | Path, image: str = "image", label: str = "label", subgroup: str | None = None) -> Path:
    """Write the pictures of all splits, as they are, and `list.csv` to a new folder; returns the folder.

    data:            a name on the hub, which `datasets` (an extra) fetches, or what it has loaded: a dict of splits, or
                     one, which `scan` divides
    image:           the column of pictures
    label, subgroup: columns of names, or of numbers whose names the data set knows; subgroup: finer than labels

    Raises DataError: no such column, splits that are no parts, a picture without a label, a folder that is there.
    """
    folder = Path(folder).expanduser()
    if folder.exists():
        raise DataError(f"{folder} is there already: give a new folder.")
    if isinstance(data, str):
        import datasets  # an extra: pip install "forgetkit[hub]"

        data = datasets.load_dataset(data)
    splits = {**data} if isinstance(data, dict) else {"": data}
    if wrong := [name for name in splits if len(splits) > 1 and name not in PART_OF]:
        raise DataError(f"The split {wrong[0]!r} is none of {', '.join(PART_OF)}: rename it, or leave it out.")
    columns = [label, subgroup or label]
    rows = []
    for split, part in splits.items():
        if lacking := [name for name in (image, *columns) if name not in part.features]:
            raise DataError(f"There is no column {lacking[0]!r}, but {', '.join(part.features)}: name image and label.")
        known = [getattr(part.features[name], "names", None) for name in columns]
        undecoded = part.cast_column(image, type(part.features[image])(decode=False))
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number, row in enumerate(undecoded):
            said = [row[name] for name in columns]
            if None in said or -1 in said:  # as test splits of competitions have it
                raise DataError(f"Picture {number} of the split {split!r} has no label: leave that split out.")
            content = row[image]["bytes"] or Path(row[image]["path"]).read_bytes()
            file = folder / split / f"{number:07d}.{Image.open(io.BytesIO(content)).format.lower()}"
            file.write_bytes(content)
            words = [names[value] if names else value for names, value in zip(known, said)]
            rows.append([file.relative_to(folder).as_posix(), *words, split if split in PART_OF else ""])
    with (folder / "list.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["image", "label", "subgroup", "part"], *rows])
    return folder
