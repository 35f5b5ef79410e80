"""forgetkit: make a CLIP model forget one subgroup of a class, step by step.

After *Targeted Forgetting of Image Subgroups in CLIP Models* (Zhang et al., CVPR 2025, arXiv 2506.03117).

Every name below is imported when it is first used: most of them bring torch, which takes seconds.
"""

from importlib import import_module

__version__ = "0.1.0"
_HOME = {
    "Clip": "models.clip", "load_clip": "models.loading", "Recipe": "recipe",
    "Subgroup": "subgroups", "Splits": "subgroups", "split": "subgroups", "tutorial_sets": "subgroups",
    "forget": "forgetting", "remind": "reminding", "restore": "restoring", "unlearn": "pipeline",
    "accuracies": "evaluation", "evaluate": "evaluation", "score": "evaluation", "alarms": "tutorial.diagnostics",
    "audit": "auditing",
}  # fmt: skip
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"forgetkit has no {name!r}; it has: {', '.join(__all__)}.")
    return getattr(import_module(f"forgetkit.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
