"""Exercises of the lessons: `check("01.1", answer)` says whether an answer holds, or what to look at.

Where the check is a call and its result, it stands in cases.toml. Solutions are in `notebooks/solutions`.
"""

from forgetkit.lessons.exercises.checking import CHECKS, EMPTY, check
from forgetkit.lessons.exercises.checks import quiz

__all__ = ["CHECKS", "EMPTY", "check", "quiz"]
