"""Figures of the lessons: one look, colour-blind safe, legible in grey, axes named with units. Each is a Figure."""

from forgetkit.lessons.figures.charts import *  # noqa: F403
from forgetkit.lessons.figures.pictures import *  # noqa: F403
from forgetkit.lessons.figures.runs import *  # noqa: F403
