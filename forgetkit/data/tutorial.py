"""Four kinds of subgroups, each over the tutorial's sets.

| kind      | target, for example | its siblings                                | how they differ                 |
|-----------|---------------------|---------------------------------------------|---------------------------------|
| `class`   | "cat"               | the other animals of CIFAR-10               | the label, in a tree of labels  |
| `coarse`  | "cat"               | the other animals, all labelled "animal"    | the class; the label is one     |
| `style`   | "cat sketches"      | photos and icons of cats                    | the style; the label is one     |
| `cluster` | "cat 1"             | the other clusters of CIFAR-10's cats       | the embedding; the label is one |
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torchvision.transforms.v2.functional import resize

from forgetkit.data.images import CIFAR10, PARTS, DataError, Grouped, ImageSet, Subgroup
from forgetkit.data.sets import SETS, load_parts

KINDS = ("class", "coarse", "style", "cluster")
N_CLUSTERS = 3  # of a class
# What mini-CLIP saw of each column in pre-training; never one of its images.
SEEN = dict.fromkeys(("target", "siblings", "other"), "other images of these classes") | {
    "fashion": "other product photos of these ten classes",
    "quickdraw": "other sketches of these 299 classes",
    "unseen": "no sketch of these 46 classes; their words, with photos or icons",
    "emoji": "these names in another style of drawing",
}
ICONS = vars(SETS["emoji"].icons)  # classes that are there as photos (CIFAR-10), sketches (QuickDraw) and these icons
STYLES = ("photos", "sketches", "icons")
_parts = lru_cache(maxsize=None)(load_parts)


def targets(kind: str) -> tuple[str, ...]:
    """The subgroups of a kind that can be forgotten; raises DataError for an unknown kind."""
    classes = sorted(CIFAR10)
    clusters, sketches = (
        [f"{name} {i}" for name in classes for i in range(N_CLUSTERS)],
        [f"{n} sketches" for n in ICONS],
    )
    if kind not in KINDS:
        raise DataError(f"There is no kind {kind!r} of subgroup. Choose one of: {', '.join(KINDS)}.")
    return tuple({"class": classes, "coarse": classes, "style": sketches, "cluster": clusters}[kind])


def group(target: str = "cat", kind: str = "class", clip=None, previous_targets: Sequence[str] = ()) -> Grouped:
    """One of the tutorial's subgroups, in CIFAR-10 or the three styles, with sets of other styles as further columns.

    clip: the model in whose embedding clusters are found; previous_targets: of earlier requests, of the same kind
    Raises DataError: unknown kind or target, no clip for clusters, data not to be had.
    """
    if target not in targets(kind):
        raise DataError(f"No {kind} is called {target!r}. Choose one of: {', '.join(targets(kind))}.")
    if kind == "cluster" and clip is None:
        raise DataError("Clusters are found in a model's embedding: give the clip.")
    if kind in ("class", "coarse"):
        parts, subgroup, gone = _parts("cifar10"), Subgroup.within(target), (target, *previous_targets)
        groups = {part: parts[part].names for part in PARTS}
        parts = parts if kind == "class" else {part: coarse(images, subgroup) for part, images in parts.items()}
        others = zero_shot(gone, [icon for name in gone for icon in ICONS.get(name, ())])
        return Grouped(parts, subgroup, groups, others, previous_targets)
    names = [*dict.fromkeys(of.rpartition(" ")[0] for of in (target, *previous_targets) if of in targets(kind))]
    name = names[0]
    if kind == "cluster":
        parts, groups = _parts("cifar10"), {}
        for one in names:  # a class that is not divided goes by its own name
            found = clusters(clip, parts, one, N_CLUSTERS)
            groups = {p: np.where(parts[p].names == one, found[p], groups.get(p, found[p])) for p in PARTS}
        members = [f"{name} {i}" for i in range(N_CLUSTERS)]
    else:
        parts, groups = styles()
        members = [m for m in (f"{name} {style}" for style in STYLES) if m in groups["train"]]  # no frog icon is left
    subgroup = Subgroup(target, tuple(member for member in members if member != target), name)
    return Grouped(parts, subgroup, groups, zero_shot(names if kind == "style" else []), previous_targets)


def own_styles(name: str) -> dict[str, ImageSet]:
    """Test sketches and icons of a class, as far as there are any: no columns of its own, nor among what is to go."""
    sketches, icons = _parts("quickdraw")["test"], _parts("emoji")["test"]
    found = {"sketches": sketches.take(sketches.names == name)}
    found["icons"] = icons.take(np.isin(icons.names, ICONS.get(name, ())))
    return {style: images for style, images in found.items() if len(images)}


def zero_shot(without: Sequence[str] = (), icons: Sequence[str] = ()) -> dict[str, dict[str, ImageSet]]:
    """Sets that are only ever evaluated, by column and part; some sketches and icons, the target's, are left out.

    `unseen` are sketches of classes whose words mini-CLIP learnt with icons: the prompts are theirs. See `SEEN`.
    """
    unseen, asked = SETS["quickdraw"].unseen, tuple(SETS["emoji"].prompts)
    sketches = {part: s.take(~np.isin(s.names, list(without))) for part, s in _parts("quickdraw").items()}
    return {
        "fashion": _parts("fashion"),
        "quickdraw": {part: s.take(~np.isin(s.names, unseen)) for part, s in sketches.items()},
        "unseen": {part: replace(s.take(np.isin(s.names, unseen)), prompts=asked) for part, s in sketches.items()},
        "emoji": {part: s.take(~np.isin(s.names, list(icons))) for part, s in _parts("emoji").items()},
    }


def coarse(part: ImageSet, subgroup: Subgroup) -> ImageSet:
    """The set with one label, the family's name, for target and siblings; all other classes keep theirs."""
    members = (subgroup.target, *subgroup.siblings)
    classes = (subgroup.family, *(name for name in part.classes if name not in members))
    label = {name: classes.index(subgroup.family if name in members else name) for name in part.classes}
    return replace(part, labels=np.asarray([label[name] for name in part.names], np.int64), classes=classes)


@lru_cache(maxsize=1)
def styles(per_class: int = 1000, size: int = 64) -> tuple[dict[str, ImageSet], dict[str, np.ndarray]]:
    """`ICONS`' classes in three styles, `per_class` photos at most; by part, every image's subgroup."""
    classes = tuple(ICONS)
    sources = dict(zip(STYLES, (_parts("cifar10"), _parts("quickdraw"), _parts("emoji"))))
    prompts = tuple(source["train"].prompts[-1] for source in sources.values())
    parts, groups = {}, {}
    for part in PARTS:
        images, labels, names = [], [], []
        for style, source in sources.items():
            for label, name in enumerate(classes):
                wanted = ICONS[name] if style == "icons" else (name,)
                index = np.flatnonzero(np.isin(source[part].names, wanted))[:per_class]
                images.append(_resized(source[part].images[index], size))
                labels += [label] * len(index)
                names += [f"{name} {style}"] * len(index)
        parts[part] = ImageSet("styles", np.concatenate(images), np.asarray(labels, np.int64), classes, prompts)
        groups[part] = np.asarray(names)
    return parts, groups


def every_style(target: str = "cat", previous_targets: Sequence[str] = ()) -> Grouped:
    """A class in every style: CIFAR-10 joined by the sketches and icons of `ICONS`' classes, all of 64 px."""
    photos, (drawn, of), parts = _parts("cifar10"), styles(), {}
    for part in PARTS:
        drawings = drawn[part].take([not name.endswith("photos") for name in of[part]])
        images = np.concatenate([_resized(photos[part].images, drawings.images.shape[1]), drawings.images])
        labels = [*photos[part].labels, *(photos[part].classes.index(name) for name in drawings.names)]
        more = {"images": images, "labels": np.asarray(labels, np.int64), "prompts": drawings.prompts}
        parts[part] = replace(photos[part], **more)
    return replace(group(target, "class", None, previous_targets), parts=parts, groups=None)


def _resized(images: np.ndarray, size: int) -> np.ndarray:
    """(N, H, W, 3) uint8 to (N, size, size, 3) uint8, bilinear as mini-CLIP's preprocessing."""
    if not len(images):
        return np.empty((0, size, size, 3), np.uint8)
    x = torch.as_tensor(images).permute(0, 3, 1, 2)
    return resize(x, [size, size], antialias=True).permute(0, 2, 3, 1).numpy()


def clusters(clip, parts: Mapping[str, ImageSet], name: str, n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """By part, the subgroup of every image: its class, for `name` with its cluster's number ("cat 0", "cat 1", ...).

    Clusters are found among the training images' embeddings (N, D); images of other parts join the nearest centre.
    """
    groups, centres = {}, None
    for part in PARTS:  # train comes first
        found = parts[part].names.astype(object)
        index = np.flatnonzero(found == name)
        z = clip.embed(parts[part].take(index).images).cpu()
        centres = kmeans(z, n, seed) if centres is None else centres
        found[index] = [f"{name} {i}" for i in (z @ centres.T).argmax(1).tolist()]
        groups[part] = found.astype(str)
    return groups


def kmeans(z: torch.Tensor, n: int, seed: int = 0, steps: int = 30, starts: int = 8) -> torch.Tensor:
    """Spherical k-means (Dhillon and Modha, 2001): n unit centres (n, D) of unit rows z (N, D), largest cluster first.

    The best of `starts` random starts by mean cosine. Raises DataError where there are fewer rows than centres.
    """
    if len(z) < n:
        raise DataError(f"{len(z)} images cannot make {n} clusters: ask for fewer.")
    generator = torch.Generator().manual_seed(seed)
    tried = []
    for _ in range(starts):
        centres = z[torch.randperm(len(z), generator=generator)[:n]]
        for _ in range(steps):
            sums = torch.zeros_like(centres).index_add_(0, (z @ centres.T).argmax(1), z)
            moved = torch.where(sums.norm(dim=1, keepdim=True) > 0, F.normalize(sums, dim=1), centres)
            if torch.equal(moved, centres):
                break
            centres = moved
        tried.append(((z @ centres.T).max(1).values.mean().item(), centres))
    best = max(tried, key=lambda fit_and_centres: fit_and_centres[0])[1]
    sizes = torch.bincount((z @ best.T).argmax(1), minlength=n)
    return best[sizes.argsort(descending=True)]
