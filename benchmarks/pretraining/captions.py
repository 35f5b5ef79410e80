"""What mini-CLIP sees and hears in pre-training: the settings, augmented images, and captions known to be true or not.

Every image gets a caption on the fly: a template, and a word that is true of it (`forgetkit.models.mini`). A caption
that is true of an image but was not drawn for it is left out of the loss rather than pushed away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import open_clip
import torch
import torch.nn.functional as F

from forgetkit.data.sets import SETS, load
from forgetkit.models import mini

# What a caption may say: templates of a style, and templates true of every style.
TEMPLATES = {
    "cifar10": ("a photo of a {}.", "a photo of a {}.", "a small photo of a {}.", "a blurry photo of a {}."),
    "fashion": ("a product photo of a {}.", "a photo of a {}, a type of clothing."),
    "quickdraw": ("a sketch of a {}.", "a drawing of a {}.", "a doodle of a {}."),
    "emoji": ("an emoji of a {}.", "an icon of a {}.", "a cartoon of a {}."),
}
ANY_STYLE = ("a picture of a {}.", "an image of a {}.", "{}")
STYLES = tuple(TEMPLATES)
OTHERS = {"cifar10": 0.04, "fashion": 0.02, "quickdraw": 0.5, "emoji": 0.44}  # each set's share of `Pretraining.others`


@dataclass(frozen=True)
class Pretraining:
    """The recipe: every number that decides the result, and why it is what it is."""

    model: str = "mini-clip"
    without: str = ""  # a word: whatever it is true of is left out (the oracle)
    images_seen: int = 2_400_000
    # Side of the images in pixels, up to this share of the images: small ones first, they cost a third.
    sizes: tuple[tuple[float, int], ...] = ((0.4, 48), (1.0, 64))
    batch: int = 512
    # Share of a batch. Photos and sketches have the most to learn; 833 icons need few, but often.
    share: tuple[tuple[str, float], ...] = (("cifar10", 0.43), ("fashion", 0.06), ("quickdraw", 0.35), ("emoji", 0.16))
    muon: float = 0.05  # relative step of a convolution; 0: AdamW for all
    muon_momentum: float = 0.9
    lr: float = 2e-3  # AdamW: the text tower, attention pool, BatchNorm
    weight_decay: float = 0.05
    warmup: int = 100  # steps
    smoothing: float = 0.1  # share of the target that is spread over all captions
    mix: float = 0.5  # share of the sketches that are blends of two, with both captions
    lines: float = 0.25  # share of the icons turned into line drawings: a bridge to sketches of the same words
    any_style: float = 0.3  # share of captions that do not name the style
    synonym: float = 0.12  # share of captions that say another name, of classes that have one
    kind: float = 0.08  # share of captions that say a kind
    others: int = 250  # captions of further classes in each step's comparison, beside those of the images
    to_image: float = 0.25  # weight of caption-to-image in the loss; the rest is image-to-caption
    mild: float = 0.75  # from this share of the images on, augmentation is half as strong
    ema: float = 0.98  # of the weights, every 8 steps
    seed: int = 0
    bn_momentum: float = 0.02  # slow running statistics: stage 2 reads them as a memory of this data


class Vocabulary:
    """Words, classes, and which word is true of which class; rows are all classes of all sets, one after the other."""

    def __init__(self, config: Pretraining):
        self.config = config
        self.sets = {name: load(name, "pretrain") for name, _ in config.share}
        self.rows, names = {}, []
        for name, part in self.sets.items():
            self.rows[name] = len(names)
            names += part.classes
        truths = [mini.truths(name) for name in names]
        gone = {config.without, *mini.synonyms(config.without)}
        self.left_out = np.array([config.without in t for t in truths])
        self.shown = {name: self._shown(name) for name in self.sets}
        known = {w for t, left in zip(truths, self.left_out) if not left for w in t} - gone
        self.words = tuple(sorted(known))
        index = {w: i for i, w in enumerate(self.words)}
        self.true = np.zeros((len(names), len(self.words)), bool)
        for row, true in enumerate(truths):
            self.true[row, [index[w] for w in true if w in index]] = True
        # What a caption of the class says: its name, a synonym or a kind; (classes, words), rows add up to 1.
        self.says = np.zeros((len(names), len(self.words)), np.float32)
        for row, name in enumerate(names):
            if self.left_out[row]:
                continue
            other = [index[w] for w in mini.synonyms(name) if w in index]
            kinds = [index[w] for w in mini.kinds(name) if w in index]
            own = 1.0 - config.synonym * bool(other) - config.kind * bool(kinds)
            self.says[row, index[name]] = own
            for chosen, share in ((other, config.synonym), (kinds, config.kind)):
                for w in chosen:
                    self.says[row, w] += share / len(chosen)
        # Sketches are not held against a word of which no sketch was shown: its own sketches are to be found unseen.
        sketched = self.classes("quickdraw")
        shown = self.true[[self.rows["quickdraw"] + c for c in sketched]].any(0)
        self.foreign = np.zeros((len(STYLES), len(self.words)), bool)
        unseen = {index[w] for n in SETS["quickdraw"].unseen for w in mini.truths(n) if w in index}
        self.foreign[STYLES.index("quickdraw"), [w for w in unseen if not shown[w]]] = True

    def classes(self, name: str) -> list[int]:
        """The classes of a set that are shown."""
        return self.shown[name]

    def _shown(self, name: str) -> list[int]:
        part, start = self.sets[name], self.rows[name]
        present = np.unique(part.labels)
        return [int(c) for c in present if not self.left_out[start + c]]


class Source:
    """Augmented images of one set, drawn at random, and the rows and words of their captions."""

    def __init__(self, name: str, vocabulary: Vocabulary, device: torch.device):
        part = vocabulary.sets[name]
        keep = np.isin(part.labels, vocabulary.classes(name))
        self.name, self.style, self.vocabulary, self.config = name, STYLES.index(name), vocabulary, vocabulary.config
        self.images = torch.from_numpy(part.images[keep]).permute(0, 3, 1, 2).contiguous().to(device)
        self.row = part.labels[keep] + vocabulary.rows[name]
        self.order, self.at = np.arange(0), 0
        self.rng = np.random.default_rng([self.config.seed, self.style])
        self.cumulative = vocabulary.says.cumsum(1)

    def index(self, n: int) -> np.ndarray:
        """The next n images of a random order, every image once before any comes twice."""
        while len(self.order) - self.at < n:
            self.order = np.concatenate([self.order[self.at :], self.rng.permutation(len(self.row))])
            self.at = 0
        self.at += n
        return self.order[self.at - n : self.at]

    def draw(self, n: int, size: int, strength: float, generator: torch.Generator):
        """Images (n, 3, size, size) in 0..1, rows (n,), words (n,), and which are line drawings (n,)."""
        index = self.index(n)
        row = self.row[index]
        word = (self.cumulative[row] < self.rng.random((n, 1)) * self.cumulative[row, -1:] - 1e-6).sum(1)
        word = word.clip(0, len(self.vocabulary.words) - 1)
        x = augment(self.images[torch.from_numpy(index).to(self.images.device)], size, self.name, strength, generator)
        lines = np.zeros(n, bool)
        if self.name == "emoji":
            lines[: round(self.config.lines * n)] = True  # the order is random
            count = int(lines.sum())
            x[:count] = line_drawing(x[:count])
        return x, row, word, lines


# Strength of the augmentation: zoom below and above 1, turn (radians), shift, colour; share with a hole.
AUGMENT = {
    "cifar10": (0.20, 0.05, 0.10, 0.12, 0.5, 0.4),
    "fashion": (0.10, 0.10, 0.05, 0.08, 0.4, 0.2),
    "quickdraw": (0.20, 0.15, 0.25, 0.12, 0.4, 0.2),
    "emoji": (0.30, 0.20, 0.20, 0.15, 1.0, 0.35),
}


def augment(images: torch.Tensor, size: int, name: str, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Random zoom, shift, turn, flip, colour and a hole; (N, 3, h, w) uint8 to (N, 3, size, size) in 0..1."""
    n, device = len(images), images.device
    closer, farther, turn, move, colour, holes = (strength * a for a in AUGMENT[name])

    def uniform(*shape, low=0.0, high=1.0):
        return (low + (high - low) * torch.rand(*shape, generator=generator)).to(device)

    zoom = uniform(n, low=1 - closer, high=1 + farther)
    stretch = uniform(n, low=1 - 0.1 * strength, high=1 + 0.1 * strength)
    angle = uniform(n, low=-turn, high=turn)
    flip = torch.where(uniform(n) < 0.5, -1.0, 1.0)
    shift = uniform(n, 2, low=-2 * move, high=2 * move) / 2 * 1.5
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    theta = torch.stack([cos * flip * stretch, -sin, shift[:, 0], sin * flip * stretch, cos, shift[:, 1]], 1)
    if images.shape[-1] > size:  # no aliasing
        images = F.interpolate(images.float(), size=size, mode="bilinear", antialias=True)
    grid = F.affine_grid(theta.view(n, 2, 3), (n, 3, size, size), align_corners=False)
    x = F.grid_sample(images.float() / 255, grid, padding_mode="reflection", align_corners=False)
    # Brightness, contrast and colour: one linear map of the three channels an image.
    gray = uniform(n, 1, 1, low=1 - 0.6 * colour, high=1 + 0.4 * colour)
    contrast = uniform(n, 1, 1, low=1 - 0.3 * colour, high=1 + 0.3 * colour)
    tint = uniform(n, 3, 1, low=1 - 0.1 * colour, high=1 + 0.1 * colour)
    light = uniform(n, 1, low=-0.15 * colour, high=0.15 * colour)
    mix = (gray * torch.eye(3, device=device) + (1 - gray) / 3) * contrast * tint
    mean = x.mean((2, 3))
    bias = (mean.mean(1, keepdim=True) * (1 - contrast[:, 0]) + light)[..., None]
    x = torch.baddbmm(bias, mix, x.flatten(2)).view_as(x)
    # A hole: 30 % of the side.
    at = uniform(n, 2, 1, low=-0.25, high=1.0)
    axis = torch.arange(size, device=device) / size
    inside = (axis >= at) & (axis < at + 0.3)
    hole = inside[:, 0, :, None] & inside[:, 1, None, :] & (uniform(n, 1, 1) < holes)
    return x.masked_fill_(hole[:, None], 0.5).clamp_(0, 1)


def line_drawing(x: torch.Tensor) -> torch.Tensor:
    """Dark lines on white where the picture changes: (N, 3, S, S) in 0..1, the same shape."""
    edge = torch.zeros_like(x[:, :1])
    dx, dy = (x[..., :, 1:] - x[..., :, :-1]).abs().amax(1, True), (x[..., 1:, :] - x[..., :-1, :]).abs().amax(1, True)
    edge[..., :, 1:] += dx
    edge[..., 1:, :] += dy
    if x.shape[-1] >= 64:
        edge = F.max_pool2d(edge, 3, 1, 1)  # as thick as a sketch's
    edge = edge / edge.amax((2, 3), keepdim=True).clamp(min=0.1)
    return (1 - (2 * edge).clamp(0, 1)).expand(-1, 3, -1, -1)


@dataclass
class Batch:
    images: torch.Tensor  # (B, 3, S, S), normalised
    texts: list[str]  # K distinct captions
    target: torch.Tensor  # (B, K): the captions drawn for an image, rows add up to 1
    excluded: torch.Tensor  # (B, K) bool: captions that are neither the image's own nor held against it

    def to(self, device: torch.device) -> Batch:
        return Batch(self.images.to(device), self.texts, self.target.to(device), self.excluded.to(device))


def compose(sources: list[Source], config: Pretraining, counts: list[int], size: int, strength: float, generator, rng):
    """One batch: images of every source, blends among the sketches, captions, and the truth about each pair."""
    vocabulary = sources[0].vocabulary
    drawn = [s.draw(n, size, strength, generator) for s, n in zip(sources, counts)]
    pixels = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    mean, std = (torch.tensor(m, device=drawn[0][0].device).view(3, 1, 1) for m in pixels)
    row = np.concatenate([d[1] for d in drawn])
    word = np.concatenate([d[2] for d in drawn])
    lines = np.concatenate([d[3] for d in drawn])
    style = np.repeat([s.style for s in sources], counts)
    n = len(row)
    # One template a word, style and step keeps the number of distinct captions, hence the text tower's work, small.
    says = np.where(lines, STYLES.index("quickdraw"), style)
    keys = {}

    def caption(style_index: int, w: int) -> tuple[int, int, str]:
        if (style_index, w) not in keys:
            general = rng.random() < config.any_style
            pool = ANY_STYLE if general else TEMPLATES[STYLES[style_index]]
            template = pool[rng.integers(len(pool))]
            keys[style_index, w] = (-1 if general else style_index, w, template.format(vocabulary.words[w]))
        return keys[style_index, w]

    own = [caption(s, w) for s, w in zip(says, word)]
    others = []
    for source in sources:
        classes = vocabulary.classes(source.name)
        count = min(len(classes), round(OTHERS[source.name] * config.others))
        for c in rng.choice(classes, count, replace=False):
            others.append(caption(source.style, int(vocabulary.says[vocabulary.rows[source.name] + c].argmax())))
    distinct = sorted({*own, *others})
    position = {c: k for k, c in enumerate(distinct)}
    column = np.array([position[c] for c in own])
    target = np.zeros((n, len(distinct)), np.float32)
    target[np.arange(n), column] = 1
    caption_word = np.array([w for _, w, _ in distinct])
    caption_style = np.array([s for s, _, _ in distinct])
    # A caption is true of an image if its word is, and its style is the image's or none. Of a line drawing made of an
    # icon, both styles are left open.
    fits = (caption_style == -1) | (caption_style == style[:, None])
    fits[lines] |= caption_style == STYLES.index("quickdraw")
    excluded = vocabulary.true[row][:, caption_word] & fits
    excluded |= vocabulary.foreign[np.where(lines, STYLES.index("emoji"), style)][:, caption_word]
    images = [d[0] for d in drawn]
    for i, source in enumerate(sources):
        if source.name == "quickdraw" and (m := round(config.mix * counts[i]) // 2 * 2):
            first = sum(counts[:i])
            a, b = slice(first, first + m), np.roll(np.arange(first, first + m), 1)
            lam = rng.beta(1.0, 1.0, size=(m, 1)).astype(np.float32)
            lam = np.maximum(lam, 1 - lam)
            x = images[i][:m]
            weight = torch.from_numpy(lam)[..., None, None].to(x.device)
            images[i][:m] = weight * x + (1 - weight) * x.roll(1, 0)
            target[a], excluded[a] = lam * target[a] + (1 - lam) * target[b], excluded[a] | excluded[b]
    excluded &= target == 0
    x = ((torch.cat(images) - mean) / std).contiguous(memory_format=torch.channels_last)
    return Batch(x, [text for _, _, text in distinct], torch.from_numpy(target), torch.from_numpy(excluded))


def contrastive_loss(
    image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor, batch: Batch, config: Pretraining
) -> torch.Tensor:
    """CLIP's symmetric loss over B images and K distinct captions, with several positives and blends; a scalar.

    image (B, D), text (K, D): unit rows. A caption that is true of an image but not its own is left out of the softmax.
    """
    logits = (scale * image @ text.T).masked_fill(batch.excluded, -1e4)
    allowed = ~batch.excluded
    target = (1 - config.smoothing) * batch.target + config.smoothing * allowed / allowed.sum(1, keepdim=True)
    to_text = -(target * F.log_softmax(logits, dim=1)).sum(1).mean()
    total = batch.target.sum(0)
    shown = total > 0
    to_image = -(batch.target * F.log_softmax(logits, dim=0)).sum(0)[shown] / total[shown]
    return (1 - config.to_image) * to_text + config.to_image * to_image.mean()
