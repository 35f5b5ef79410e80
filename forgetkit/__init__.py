"""forgetkit: make a CLIP model forget one subgroup of a class, step by step.

After *Targeted Forgetting of Image Subgroups in CLIP Models* (Zhang et al., CVPR 2025, arXiv 2506.03117).

Every name below is imported when it is first used: most of them bring torch, which takes seconds.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what type checkers and editors see of the names below
    from forgetkit.auditing import audit as audit
    from forgetkit.evaluation import accuracies as accuracies
    from forgetkit.evaluation import evaluate as evaluate
    from forgetkit.evaluation import score as score
    from forgetkit.forgetting import forget as forget
    from forgetkit.lessons.diagnostics import alarms as alarms
    from forgetkit.models.clip import Clip as Clip
    from forgetkit.models.loading import load_clip as load_clip
    from forgetkit.pipeline import unlearn as unlearn
    from forgetkit.recipe import Recipe as Recipe
    from forgetkit.reminding import remind as remind
    from forgetkit.restoring import restore as restore
    from forgetkit.subgroups import Grouped as Grouped
    from forgetkit.subgroups import ModelSets as ModelSets
    from forgetkit.subgroups import Splits as Splits
    from forgetkit.subgroups import Subgroup as Subgroup
    from forgetkit.subgroups import split as split
    from forgetkit.subgroups import tutorial_sets as tutorial_sets

__version__ = "0.1.0"
_HERE = Path(__file__).resolve().parent
HOME = _HERE if (_HERE / "notebooks").exists() else _HERE.parent  # of notebooks and docs: this package, or its clone
_HOME = {
    "Clip": "models.clip", "load_clip": "models.loading", "Recipe": "recipe",
    "Grouped": "subgroups", "ModelSets": "subgroups", "Splits": "subgroups", "Subgroup": "subgroups",
    "split": "subgroups", "tutorial_sets": "subgroups",
    "forget": "forgetting", "remind": "reminding", "restore": "restoring", "unlearn": "pipeline",
    "accuracies": "evaluation", "evaluate": "evaluation", "score": "evaluation", "alarms": "lessons.diagnostics",
    "audit": "auditing",
}  # fmt: skip
__all__ = sorted(_HOME)


if not TYPE_CHECKING:  # for type checkers, a name that is not imported above is a mistake

    def __getattr__(name: str):
        if name not in _HOME:
            raise AttributeError(f"forgetkit has no {name!r}; it has: {', '.join(__all__)}.")
        return getattr(import_module(f"forgetkit.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
