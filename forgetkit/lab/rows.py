"""Result rows in a CSV file that is whole at every moment, so that an interrupted command goes on where it was."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import open_clip
import pandas as pd
import torch

from forgetkit.models.clip import describe
from forgetkit.evaluation import TARGET, score


def versions(device: torch.device) -> dict[str, str]:
    """What every row names beside its figures: versions and device."""
    return {"torch": torch.__version__, "open_clip": open_clip.__version__, "device": describe(device)}


def measured(found: Mapping[str, float], original: Mapping[str, float] | None) -> dict[str, float | None]:
    """A row's accuracies, the target's as `target_acc` since `target` names the subgroup, and the Score if there is
    an original to compare with; three digits."""
    values = {("target_acc" if name == TARGET else name): round(value, 3) for name, value in found.items()}
    return {**values, "score": round(score(found, original), 3) if original else None}


class Rows:
    """The rows in `file`, so far in `table`; a row is told by its values in the columns `key`."""

    def __init__(self, file: Path, key: list[str]):
        self.file, self.key = file, key
        self.table = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=key)

    def __contains__(self, key: tuple) -> bool:
        return key in set(self.table[self.key].itertuples(index=False, name=None))

    def add(self, *rows: dict) -> None:
        """Append rows, and replace the file in one step."""
        if not rows:
            return
        new = pd.DataFrame(rows)
        self.table = pd.concat([self.table, new], ignore_index=True) if len(self.table) else new
        self.file.parent.mkdir(parents=True, exist_ok=True)
        half = self.file.with_suffix(".part")
        self.table.to_csv(half, index=False)
        os.replace(half, self.file)
