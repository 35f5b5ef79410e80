"""What the notebooks need besides the method: lessons, exercises, widgets, figures."""

from importlib import import_module


def __getattr__(name: str):
    """`browse` and `check`, imported when they are first used: figures alone need no torch."""
    if name in ("browse", "check"):
        return getattr(import_module(f"{__name__}.{'widgets' if name == 'browse' else 'exercises'}"), name)
    raise AttributeError(f"{__name__} has no {name!r}.")
