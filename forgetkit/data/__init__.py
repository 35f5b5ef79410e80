"""Images and their sets: one reader, the named sets, folders, ImageNet, style sets."""

from forgetkit.data.images import PARTS, DataError, Grouped, ImageSet, Subgroup
from forgetkit.data.sets import SETS, cache_folder, load, load_parts

__all__ = ["PARTS", "SETS", "DataError", "Grouped", "ImageSet", "Subgroup", "cache_folder", "load", "load_parts"]
