"""What the notebooks need besides the method: lessons, exercises, widgets, figures."""

from forgetkit.lessons.exercises import check
from forgetkit.lessons.widgets import browse

__all__ = ["browse", "check"]
