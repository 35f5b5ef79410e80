"""Exercises of notebook 06, ImageNet."""

import torch
import torch.nn.functional as F

from forgetkit.lessons.exercises.checking import exercise, expect


@exercise("06.1")
def index_of_a_class(class_index):
    folders = ["n02490219", "n01440764", "n15075141", "n01669191", "n02123045"]
    found = class_index(folders, "n01669191")
    wrong = {
        3: "a folder lists its entries in any order: sort the wnids first.",
        2: "class indices start at 0.",
    }
    expect(found, 1, f"the second wnid in alphabetical order is class 1, not {found}.", wrong, within=0)
    expect(class_index(folders, "n15075141"), 4, "right for n01669191, wrong for another: is `wnid` read?", within=0)
    assert folders[0] == "n02490219", "you sorted the reader's list in place: make a new one."


@exercise("06.2")
def head_of_many_prompts(head):
    generator = torch.Generator().manual_seed(0)
    t = F.normalize(torch.randn(5, 8, 6, generator=generator) + torch.randn(5, 1, 6, generator=generator), dim=-1)
    found = head(t.clone())
    assert tuple(found.shape) != (8, 6), "average over the prompts (axis 1), not over the classes."
    assert tuple(found.shape) == (5, 6), f"one row a class, (5, 6), not {tuple(found.shape)}."
    short = torch.allclose(found, t.mean(1), atol=1e-5)
    assert not short, "the mean of unit vectors is shorter than one, the more they disagree: bring it back to one."
    assert torch.allclose(found, F.normalize(t.mean(1), dim=-1), atol=1e-5), "the mean over the prompts, at length one."


@exercise("06.3")
def labels_of_the_devkit(labels_of):
    wnids = ["n02490219", "n01440764", "n15075141", "n01669191"]
    devkit = {1: "n15075141", 2: "n02490219", 3: "n01440764", 4: "n01669191"}
    found = list(labels_of(["2", "4", "1", "1", "3"], devkit, wnids))
    assert found != [1, 3, 0, 0, 2], "an id less one is no class index: the devkit numbers classes its own way."
    assert found != [0, 3, 2, 2, 1], "the order of `wnids` as given means nothing: their alphabetical one does."
    assert found == [2, 1, 3, 3, 0], f"wanted is [2, 1, 3, 3, 0], you get {found}: id → wnid → place."
    assert list(labels_of(["3\n"], devkit, wnids)) == [0], "a line of a file ends with a line break: int() ignores it."


@exercise("06.4")
def length_of_a_mean(length):
    wrong = {
        0.8: "that is the cosine of two; a vector's cosine with *itself* is one, and each of the 80 has one such.",
        0.8025: "that is the squared length; take its root.",
        0.1118: "that is for wordings that share nothing, 1 / sqrt(80).",
        0.8944: "nearly: that is for endlessly many; the 80 cosines with themselves count, too.",
    }
    hint = f"the squared length is the mean of all 80 × 80 cosines; you say {float(length):.4f}."
    expect(length, ((1 + 79 * 0.8) / 80) ** 0.5, hint, wrong, within=5e-4)


@exercise("06.5")
def folders_in_the_wrong_order(folders):
    names = isinstance(folders, (list, tuple)) and len(folders) > 1 and all(isinstance(f, str) for f in folders)
    assert names, "give a list of two names or more."
    assert all(f[:1] == "n" and f[1:].isdecimal() for f in folders), 'each is an "n" and digits.'
    numbers = [int(f[1:]) for f in folders]
    assert len(set(numbers)) == len(numbers), "each folder has a number of its own."
    text = sorted(folders)
    assert text != sorted(folders, key=lambda f: int(f[1:])), f"as text they stand {text}, and by number, too."
