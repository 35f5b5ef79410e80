"""What the notebooks need besides the method: lessons, exercises, widgets, figures."""

from forgetkit.tutorial.exercises import check
from forgetkit.tutorial.widgets import browse

__all__ = ["browse", "check"]
