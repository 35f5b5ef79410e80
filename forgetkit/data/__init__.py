"""Images and their sets: one reader, the named sets, folders, ImageNet, style sets."""

from forgetkit.data.sets import (
    CIFAR10,
    PARTS,
    SETS,
    DataError,
    ImageSet,
    cache_folder,
    load,
    load_folder,
    load_parts,
)

__all__ = ["CIFAR10", "PARTS", "SETS", "DataError", "ImageSet", "cache_folder", "load", "load_folder", "load_parts"]
