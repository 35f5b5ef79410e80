"""forgetkit: make a CLIP model forget one subgroup of a class, step by step.

After *Targeted Forgetting of Image Subgroups in CLIP Models* (Zhang et al., CVPR 2025, arXiv 2506.03117).

Everything below is imported when it is first used: it brings torch, which takes seconds, and
`python -m forgetkit.batch` starts hundreds of processes that may not need it.
"""

import sys
from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"
_HOME = {
    "Clip": "clips", "load_clip": "loading", "Recipe": "recipe",
    "Subgroup": "subgroups", "Splits": "subgroups", "split": "subgroups",
    "forget": "forget", "remind": "remind", "restore": "soup",
    "accuracies": "evaluate", "evaluate": "evaluate", "score": "evaluate",
}  # fmt: skip
__all__ = sorted(_HOME)


class _Package(ModuleType):
    def __getattr__(self, name: str):
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            module = import_module(f"{__name__}.{_HOME.get(name, name)}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
            raise AttributeError(f"forgetkit has no {name!r}.") from None
        return getattr(module, name) if name in _HOME else module

    def __setattr__(self, name: str, value):
        # Python sets a submodule here once it is imported: `forgetkit.forget` stays the function, not its file.
        if isinstance(value, ModuleType) and name in _HOME:
            value = getattr(value, name)
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
