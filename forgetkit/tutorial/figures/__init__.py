"""Figures of the lessons: one look, colour-blind safe, legible in grey, axes named with units. Each is a Figure."""

# ruff: noqa: F403
from forgetkit.lab.figures import *
from forgetkit.tutorial.figures.audits import *
from forgetkit.tutorial.figures.charts import *
from forgetkit.tutorial.figures.maps import *
from forgetkit.tutorial.figures.pictures import *
from forgetkit.tutorial.figures.story import *
from forgetkit.tutorial.figures.sweeps import *
