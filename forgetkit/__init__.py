"""forgetkit: make a CLIP model forget one subgroup of a class, step by step.

After *Targeted Forgetting of Image Subgroups in CLIP Models* (Zhang et al., CVPR 2025, arXiv 2506.03117).

Every name below is imported when it is first used: most of them bring torch, which takes seconds.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what type checkers and editors see of the names below
    from forgetkit.auditing import audit
    from forgetkit.evaluation import accuracies, evaluate, score
    from forgetkit.forgetting import forget
    from forgetkit.lessons.diagnostics import alarms
    from forgetkit.models.clip import Clip
    from forgetkit.models.loading import load_clip
    from forgetkit.pipeline import unlearn
    from forgetkit.recipe import Recipe
    from forgetkit.reminding import remind
    from forgetkit.restoring import restore
    from forgetkit.subgroups import Grouped, ModelSets, Splits, Subgroup, split, tutorial_sets

__version__ = "0.1.0"
_HERE = Path(__file__).resolve().parent
HOME = _HERE if (_HERE / "notebooks").exists() else _HERE.parent  # of notebooks and docs: this package, or its clone
_NAMES = {
    "auditing": "audit", "evaluation": "accuracies evaluate score", "forgetting": "forget", "models.clip": "Clip",
    "lessons.diagnostics": "alarms", "models.loading": "load_clip", "pipeline": "unlearn", "recipe": "Recipe",
    "reminding": "remind", "restoring": "restore", "subgroups": "Grouped ModelSets Splits Subgroup split tutorial_sets",
}  # fmt: skip
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = [
    "Clip", "Grouped", "ModelSets", "Recipe", "Splits", "Subgroup", "accuracies", "alarms", "audit", "evaluate",
    "forget", "load_clip", "remind", "restore", "score", "split", "tutorial_sets", "unlearn",
]  # fmt: skip


if not TYPE_CHECKING:  # for type checkers, a name that is not imported above is a mistake

    def __getattr__(name: str):
        if name not in _HOME:
            raise AttributeError(f"forgetkit has no {name!r}; it has: {', '.join(__all__)}.")
        return getattr(import_module(f"forgetkit.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
