"""A data set of Hugging Face's `datasets` as pictures and a CSV, which `scan` and `--data-dir` take as any of yours."""

import io
from pathlib import Path

import pandas as pd
from PIL import Image

from forgetkit.data.images import DataError
from forgetkit.data.layouts import PART_OF


def export(data, folder: str | Path, image: str = "image", label: str = "label", subgroup: str | None = None) -> Path:
    """Write the pictures of all splits, as they are, and `list.csv` to a new folder; returns the folder.

    data: a name on the hub, which `datasets` (an extra) fetches, or what it has loaded: a dict of splits, or one
    image, label, subgroup: columns of pictures, and of names or of numbers whose names the data set knows

    Raises DataError, before anything is written: no such column, splits that are no parts, pictures without a label, a
    folder that is there.
    """
    folder = Path(folder).expanduser()
    if folder.exists():
        raise DataError(f"{folder} is there already: give a new folder.")
    if isinstance(data, str):
        import datasets  # an extra: pip install "forgetkit[hub]"

        data = datasets.load_dataset(data)
    splits = {**data} if isinstance(data, dict) else {"": data}
    if len(splits) == 1:  # of one, `scan` makes all parts
        splits = {"": part for part in splits.values()}
    elif wrong := [name for name in splits if name not in PART_OF]:
        raise DataError(f"The split {wrong[0]!r} is none of {', '.join(PART_OF)}: rename it, or leave it out.")
    columns, rows = [label, subgroup or label], []
    for split, part in splits.items():
        if lacking := [name for name in (image, *columns) if name not in part.features]:
            raise DataError(f"There is no column {lacking[0]!r}, but {', '.join(part.features)}: name image and label.")
        if not hasattr(part.features[image], "decode"):
            raise DataError(f"The column {image!r} holds no pictures, but {type(part.features[image]).__name__}.")
        if any(value in (None, -1) for name in columns for value in part[name]):  # test splits of competitions
            raise DataError(f"The split {split!r} has pictures without a label: leave it out.")
    folder.mkdir(parents=True)
    for split, part in splits.items():
        known = [getattr(part.features[name], "names", None) for name in columns]
        for number, row in enumerate(part.cast_column(image, type(part.features[image])(decode=False))):
            content = row[image]["bytes"] or Path(row[image]["path"]).read_bytes()
            file = f"{split or 'picture'}-{number:07d}.{Image.open(io.BytesIO(content)).format.lower()}"
            (folder / file).write_bytes(content)
            words = [names[row[name]] if names else row[name] for name, names in zip(columns, known)]
            rows.append([file, *words, split])
    pd.DataFrame(rows, columns=["image", "label", "subgroup", "part"]).to_csv(folder / "list.csv", index=False)
    return folder
