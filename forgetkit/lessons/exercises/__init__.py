"""Exercises of the lessons, a module each: `check("01.1", answer)` says whether an answer holds, or what to look at.

Solutions are in `notebooks/solutions`.
"""

from importlib import import_module

from forgetkit.lessons.exercises.checking import CHECKS, EMPTY, check
from forgetkit.lessons.exercises.closing_quiz import quiz

__all__ = ["CHECKS", "EMPTY", "check", "quiz"]
LESSONS = (
    "subgroups", "forgetting", "reminding", "restoring", "evaluation", "imagenet", "styles", "batches", "attack",
)  # fmt: skip

for lesson in LESSONS:  # each registers its checks
    import_module(f"{__name__}.{lesson}")
