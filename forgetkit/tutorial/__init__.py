"""What the notebooks need besides the method: lessons, exercises, widgets, figures."""

from importlib import import_module

_HOME = {"check": "exercises", "browse": "widgets"}  # what every lesson takes from here, imported when first used
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"forgetkit.tutorial has no {name!r}.")
    return getattr(import_module(f"forgetkit.tutorial.{_HOME[name]}"), name)
