"""Figures of the lessons: one look, colour-blind safe, legible in grey, axes named with units. Each is a Figure."""

from importlib import import_module

MODULES = ("style", "charts", "runs", "pictures")  # the last brings torch


def __getattr__(name: str):
    """What one of the modules has, which is imported when it is first needed."""
    for module in MODULES if name not in MODULES and not name.startswith("__") else ():
        if hasattr(found := import_module(f"{__name__}.{module}"), name):
            return getattr(found, name)
    raise AttributeError(f"{__name__} has no {name!r}.")


def __dir__() -> list[str]:
    return sorted({name for module in MODULES for name in dir(import_module(f"{__name__}.{module}"))})
