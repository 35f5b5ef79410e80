"""How fast the stages run on models of the paper's size, weights random: `python -m forgetkit.lab.studies gpu`.

Each stage's step stands against a plain open_clip training step of the same model, the same number of images, in the
same run; and against its floor (`Roofline`): what its operators would at least take at the speeds of the best matrix
product and of memory, both measured in the same run.

How much memory a step of many images needs can be counted without a GPU (`Held`): `python -m forgetkit.lab.studies memory`.
"""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from tqdm import tqdm

from forgetkit.alignment import align, gathered
from forgetkit.lab.benchmark import RESULTS, peak_memory
from forgetkit.models.clip import Clip, autocast, pick_device
from forgetkit.data.sets import PARTS, ImageSet
from forgetkit.fisher import squared_gradients
from forgetkit.forgetting import forget
from forgetkit.models.loading import load_clip
from forgetkit.lora import adaptable
from forgetkit.recipe import Recipe
from forgetkit.reminding import remind
from forgetkit.lab.rows import Rows, versions
from forgetkit.subgroups import Splits, Subgroup, split

MODELS = ("RN50", "RN101", "ViT-B-16")
Stages = dict[str, Callable[[int], object]]  # {what: run(steps)}


def images_per_second(run: Callable[[int], object], images: int, few: int = 5, many: int = 25) -> float:
    """Speed of a loop `run(steps)` over `images` images a step, without what it does before and after its steps.

    The difference between `many` steps and `few`, each the best of three; twice as many of both where other work on the
    machine drowns it.
    """

    def seconds(steps: int) -> float:
        start = time.perf_counter()
        run(steps)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start

    run(few)
    while True:
        short, long = (min(seconds(steps) for _ in range(3)) for steps in (few, many))
        if long > short:
            return images * (many - few) / (long - short)
        few, many = 2 * few, 2 * many


def plain_steps(clip: Clip, sets: Splits, batch: int) -> Callable[[int], None]:
    """An ordinary open_clip training step of the same model: both towers, contrastive loss, AdamW."""
    model = clip.copy().model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    x = clip.preprocess(sets.retain.images)
    texts = [sets.prompts[0].format(sets.classes[label]) for label in sets.retain.labels]
    tokens, loss_of = clip.tokenizer(texts).to(clip.device), open_clip.ClipLoss()

    def run(steps: int) -> None:
        for step in range(steps):
            index = torch.arange(step * batch, (step + 1) * batch, device=clip.device) % len(x)
            with autocast(clip.device):
                loss = loss_of(*model(x[index], tokens[index]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return run


def noise_sets(n: int, size: int, seed: int = 0) -> Splits:
    """n noise images to forget and n to retain, of the model's own size: speed does not depend on what they show."""
    rng = np.random.default_rng(seed)

    def part(images: int) -> ImageSet:
        labels = np.arange(3 * images) % 3
        pixels = rng.integers(0, 255, (3 * images, size, size, 3), np.uint8)
        return ImageSet("noise", pixels, labels, ("cat", "dog", "cup"))

    parts = {name: part(n if name == "train" else 2) for name in PARTS}
    few = dict(n_calibration=2, n_calibration_target=2)
    return split(parts, Subgroup("cat", ("dog",)), n_forget=n, n_retain=n, **few)


def stage_steps(clip: Clip, sets: Splits, batch: int) -> Stages:
    """The steps of every stage, `batch` images a step; `plain` is the training step they stand against."""
    head = clip.head(sets.classes, sets.prompts)
    few = dict(
        forget_stop=None, forget_spare=None, fisher_samples=1, forget_batch=batch, align_steps=1, remind_mirrored=False,
        remind_batch=batch // 4, n_noise=batch // 4, n_abstract=batch // 4,
    )  # fmt: skip
    x, text = clip.preprocess(sets.retain.images[:batch]), head[torch.as_tensor(sets.retain.labels[:batch])]
    names, tower = adaptable(clip.model.visual), clip.model.visual
    forgotten = clip.copy("forget", layers=names[-4:])
    goal = gathered(clip, [x])
    return {
        "plain": plain_steps(clip, sets, batch),
        "Fisher": lambda steps: [squared_gradients(tower, x, text, names) for _ in range(steps)],
        "forget": lambda steps: forget(clip, sets, Recipe.default(**few, forget_steps=steps), head),
        "align": lambda steps: align(clip, x, steps, batch=batch, goal=goal),
        "remind": lambda steps: remind(forgotten, clip, sets, Recipe.default(**few, remind_steps=steps), head),
        "restore": lambda steps: [clip.embed(sets.retain.images[:batch]) for _ in range(steps)],
    }


class Roofline(TorchDispatchMode):
    """Counts, of all operators in its block: `flops`, `bytes`, and the `seconds` that they would at least take.

    An operator reads its inputs from memory and writes its outputs there, and computes meanwhile: it takes the longer
    of the two (Williams et al., 2009). Operations are counted by torch, of products and convolutions; views are free.
    What a cache holds moves faster than `bytes_s`, so small tensors can beat this floor.
    """

    def __init__(self, flops_s: float, bytes_s: float):
        super().__init__()
        self.flops_s, self.bytes_s = flops_s, bytes_s
        self.flops, self.bytes, self.seconds = 0, 0, 0.0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        count = flop_registry.get(func._overloadpacket)
        flops = count(*args, **kwargs, out_val=found) if count else 0
        read, written = ([x for x in tree_leaves(part) if torch.is_tensor(x)] for part in ((args, kwargs), found))
        own = {x.untyped_storage().data_ptr() for x in read}
        view = not func._schema.is_mutable and all(x.untyped_storage().data_ptr() in own for x in written)
        moved = 0 if view else sum(x.numel() * x.element_size() for x in (*read, *written))
        self.flops, self.bytes = self.flops + flops, self.bytes + moved
        self.seconds += max(flops / self.flops_s, moved / self.bytes_s)
        return found


class Held(TorchDispatchMode):
    """Counts the bytes of all tensors that operators in its block create, while they are alive: `now`, and the `peak`.

    That is what CUDA's allocator calls allocated, without what a kernel holds while it runs. It does not depend on the
    device, so a CPU can tell what a GPU would need.
    """

    def __init__(self):
        super().__init__()
        self.now, self.peak = 0, 0
        self._known: dict[int, weakref.finalize] = {}  # by the storage's id, which is free again when it is dropped

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        before = {id(x.untyped_storage()) for x in tree_leaves((args, kwargs)) if torch.is_tensor(x)}
        for x in tree_leaves(found):
            if torch.is_tensor(x) and id(storage := x.untyped_storage()) not in before | self._known.keys():
                self.now += storage.nbytes()
                self._known[id(storage)] = weakref.finalize(storage, self._freed, id(storage), storage.nbytes())
        self.peak = max(self.peak, self.now)
        return found

    def _freed(self, storage: int, size: int) -> None:
        del self._known[storage]
        self.now -= size


def held(run: Callable[[int], object]) -> int:
    """Bytes that one step, with what comes before and after it, holds at most."""
    gc.collect()
    with Held() as counter:
        run(1)
    return counter.peak


def work(run: Callable[[int], object], images: int, flops_s: float, bytes_s: float) -> dict[str, float]:
    """What an image of a step costs: floating-point operations, bytes moved, and the floor in seconds."""
    counts = []
    for steps in (1, 2):
        with Roofline(flops_s, bytes_s) as counter:
            run(steps)
        counts.append(counter)
    return {n: (getattr(counts[1], n) - getattr(counts[0], n)) / images for n in ("flops", "bytes", "seconds")}


def matmul_speed(device: torch.device) -> float:
    """Operations a second of a large matrix product in the precision that the stages compute in."""
    n = 8192 if device.type == "cuda" else 2048
    dtype = torch.bfloat16 if autocast(device)._enabled else torch.float32
    a = torch.randn(n, n, device=device, dtype=dtype)

    def run(steps: int) -> None:
        for _ in range(steps):
            a @ a

    return images_per_second(run, 2 * n**3, 1, 6)


def memory_speed(device: torch.device) -> float:
    """Bytes a second, read and written, of a large copy in the device's memory."""
    a = torch.randn(2**28 if device.type == "cuda" else 2**26, device=device)  # 1 GB, 256 MB: no cache holds it
    b = torch.empty_like(a)

    def run(steps: int) -> None:
        for _ in range(steps):
            b.copy_(a)

    return images_per_second(run, 2 * a.numel() * a.element_size(), 1, 6)


KEY = ["model", "batch", "stage", "device"]  # of a row


def missing(rows: Rows, models: Sequence[str], batch: int, where: torch.device) -> Iterator[tuple[str, Clip, Stages]]:
    """Those models that have no rows yet, by name, with their stages' steps."""
    device = versions(where)["device"]
    for name in tqdm([m for m in models if (m, batch, "restore", device) not in rows], unit="model"):
        clip = load_clip(name, device=where)
        yield name, clip, stage_steps(clip, noise_sets(batch, clip.image_size), batch)


def throughput(
    models: Sequence[str] = MODELS, batch: int | None = None, device: str = "auto", out: Path = RESULTS / "gpu.csv",
) -> pd.DataFrame:  # fmt: skip
    """One row a model and stage; what is there already is not measured again.

    images_s, plain_images_s: the stage and the plain step; ratio: the one over the other. gflop, mb: 1e9 operations and
    1e6 bytes an image; floor_images_s: what they would allow at `peak_tflops` and `peak_gb_s`; floor_share: percent of
    it that is reached. peak_mb: the most memory held (of the process, on a CPU). batch: a multiple of 4; 256 on a GPU,
    else 8.
    """
    where = pick_device(device)
    batch = batch or (256 if where.type == "cuda" else 8)
    few, many = (5, 25) if where.type == "cuda" else (1, 3)
    rows, found = Rows(out, KEY), versions(where)
    for name, _, runs in missing(rows, models, batch, where):
        flops_s, bytes_s = matmul_speed(where), memory_speed(where)
        plain, measured = None, []
        for stage, run in tqdm(runs.items(), desc=name, leave=False):
            with peak_memory(where) as memory:
                speed = images_per_second(run, batch, few, many)
            plain = plain or speed
            least = work(run, batch, flops_s, bytes_s)
            measured.append(
                {
                    "model": name, "batch": batch, "stage": stage, "images_s": round(speed, 2),
                    "plain_images_s": round(plain, 2), "ratio": round(speed / plain, 3),
                    "gflop": round(least["flops"] / 1e9, 2), "mb": round(least["bytes"] / 1e6, 1),
                    "floor_images_s": round(1 / least["seconds"], 1),
                    "floor_share": round(100 * speed * least["seconds"], 1),
                    "peak_tflops": round(flops_s / 1e12, 3), "peak_gb_s": round(bytes_s / 1e9, 1),
                    "peak_mb": round(memory["MB"]), **found,
                }
            )  # fmt: skip
        rows.add(*measured)  # a model at a time: its rows belong to one run
    return rows.table


def memory(
    models: Sequence[str] = ("RN50",), batch: int | None = None, device: str = "auto",
    out: Path = RESULTS / "memory.csv",
) -> pd.DataFrame:  # fmt: skip
    """What a step of `batch` images (256 unless given) holds, counted; one row a model and stage.

    held_gb: all tensors that are alive at once, at most, beside the weights of the original model and of another one,
    weights_gb. A CPU needs that much memory, too, to count it.
    """
    where, batch = pick_device(device), batch or 256
    rows, found = Rows(out, KEY), versions(where)
    for name, clip, runs in missing(rows, models, batch, where):
        weights = 2 * sum(p.nbytes for p in clip.model.parameters())
        held_by = {stage: held(run) for stage, run in tqdm(runs.items(), desc=name, leave=False)}
        names = {"model": name, "batch": batch}
        rows.add(
            *(
                {**names, "stage": s, "held_gb": round(n / 1e9, 3), "weights_gb": round(weights / 1e9, 3), **found}
                for s, n in held_by.items()
            )
        )
    return rows.table
