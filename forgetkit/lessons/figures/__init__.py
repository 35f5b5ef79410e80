"""Figures of the lessons: one look, colour-blind safe, legible in grey, axes named with units. Each is a Figure."""

# ruff: noqa: F403
from forgetkit.lessons.figures.charts import *
from forgetkit.lessons.figures.maps import *
from forgetkit.lessons.figures.pictures import *
from forgetkit.lessons.figures.runs import *
from forgetkit.lessons.figures.style import *
