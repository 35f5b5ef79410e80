"""forgetkit: make a CLIP model forget one subgroup of a class, step by step.

After *Targeted Forgetting of Image Subgroups in CLIP Models* (Zhang et al., CVPR 2025, arXiv 2506.03117).
"""

from .clips import Clip
from .evaluate import accuracies, evaluate, score
from .forget import forget
from .loading import load_clip
from .recipe import Recipe
from .remind import remind
from .soup import restore
from .subgroups import Splits, Subgroup, split

__version__ = "0.1.0"
__all__ = [
    "Clip", "Recipe", "Splits", "Subgroup", "accuracies", "evaluate", "forget", "load_clip", "remind", "restore",
    "score", "split",
]  # fmt: skip
