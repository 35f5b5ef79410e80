"""How fast the stages run on models of the paper's size, and how much memory they need; weights are random.

Each stage's step stands against a plain open_clip training step of the same model, the same number of images, in the
same run; and against its floor (`Roofline`): what its operators would at least take at the speeds of the best matrix
product and of memory, both measured in the same run.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.ablations import layernorm_alignment
from benchmarks.benchmark import peak_memory
from benchmarks.rows import Rows
from forgetkit.alignment import align
from forgetkit.data.images import PARTS, ImageSet, Subgroup
from forgetkit.fisher import squared_gradients
from forgetkit.forgetting import forget
from forgetkit.lessons.committed import RESULTS
from forgetkit.lora import adaptable
from forgetkit.models.clip import Clip, autocast, batch_norms, pick_device
from forgetkit.models.loading import load_clip
from forgetkit.recipe import Recipe
from forgetkit.reminding import remind
from forgetkit.subgroups import Grouped, Splits, split

MODELS = ("RN50", "RN101", "ViT-B-16")
Steps = Callable[[int], object]  # run(steps)
ONE_BY_ONE = 16  # images of a step of Fisher, which takes one at a time, however many there are


def images_per_second(run: Steps, images: int, few: int = 5, many: int = 25) -> float:
    """Speed of a loop over `images` images a step, without what it does before and after its steps.

    The difference between `many` steps and `few`, each the best of three; twice as many of both while it is less than a
    quarter of the time, in which other work on the machine would drown it.
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
        if long - short >= long / 4:
            return images * (many - few) / (long - short)
        few, many = 2 * few, 2 * many


def repeated(operation: Callable[[], object]) -> Steps:
    return lambda steps: [operation() for _ in range(steps)] and None


def plain_steps(clip: Clip, sets: Splits, batch: int) -> Steps:
    """An ordinary open_clip training step of the same model: both towers, contrastive loss, AdamW."""
    model = clip.copy().model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    texts = [sets.prompts[0].format(sets.classes[label]) for label in sets.retain.labels]
    x, tokens, loss_of = sets.retain.images, clip.tokenizer(texts).to(clip.device), open_clip.ClipLoss()

    def run(steps: int) -> None:
        for step in range(steps):
            index = torch.arange(step * batch, (step + 1) * batch, device=clip.device) % len(x)
            with autocast(clip.device):
                loss = loss_of(*model(x[index], tokens[index]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return run


def noise_sets(clip: Clip, n: int, seed: int = 0, others: int = 2) -> Splits:
    """n noise images to forget and n to retain, of the model's own size: speed does not depend on what they show.

    others: images of each group in the sets that no stage is trained on
    """
    rng, size = np.random.default_rng(seed), clip.image_size
    parts = {}
    for name in PARTS:
        images = 3 * (n if name == "train" else others)
        pixels = rng.integers(0, 255, (images, size, size, 3), np.uint8)
        parts[name] = ImageSet("noise", pixels, np.arange(images) % 3, ("cat", "dog", "cup"))
    sizes = dict(n_forget=n, n_retain=n, n_calibration=others, n_calibration_target=others)
    return split(Grouped(parts, Subgroup("cat", ("dog",))), **sizes).on(clip)


def stage_steps(clip: Clip, sets: Splits, batch: int) -> dict[str, Steps]:
    """The steps of every stage, `batch` images a step; `plain` is the training step they stand against."""
    part = sets.retain.take(slice(batch))
    x, text, tower = part.images, sets.head[part.labels], clip.model.visual
    names = adaptable(tower)
    stage1 = clip.copy("forget", layers=names[-4:])
    once = dict(stop=None, min_retain=None, fisher_samples=1, batch=batch)
    quarter = batch // 4  # of each of four pools
    few = dict(align_steps=1, mirrored=False, batch=quarter, n_noise=quarter, n_abstract=quarter)
    aligned = align if batch_norms(clip.model) else layernorm_alignment(clip, sets)
    return {
        "plain": plain_steps(clip, sets, batch),
        "Fisher": repeated(lambda: squared_gradients(tower, x[:ONE_BY_ONE], text[:ONE_BY_ONE], names)),
        "forget": lambda steps: forget(clip, sets, Recipe.default(forget={**once, "steps": steps}).forget),
        "align": lambda steps: aligned(clip, x, steps, batch=batch),
        "remind": lambda n: remind(stage1, clip, sets, Recipe.default(remind={**few, "steps": n}).remind),
        "restore": repeated(lambda: clip.embed(x)),
    }


class Roofline(TorchDispatchMode):
    """Counts, of all operators in its block: `flops`, `bytes`, and the `seconds` that they would at least take.

    An operator reads its inputs from memory and writes its outputs there, and computes meanwhile: it takes the longer
    of the two (Williams et al., 2009). Operations are counted by torch, of products and convolutions; views are free.
    What a cache holds moves faster than `bytes_s`, so small tensors can beat this floor. (torch's own FlopCounterMode
    counts operations only, and not by operator.)
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
        moved = 0 if view else sum(x.nbytes for x in (*read, *written))
        self.flops, self.bytes = self.flops + flops, self.bytes + moved
        self.seconds += max(flops / self.flops_s, moved / self.bytes_s)
        return found


def work(run: Steps, images: int, flops_s: float, bytes_s: float) -> dict[str, float]:
    """What an image of a step costs: floating-point operations, bytes moved, and the floor in seconds."""
    counts = []
    for steps in (1, 2):
        with Roofline(flops_s, bytes_s) as counter:
            run(steps)
        counts.append(counter)
    return {n: (getattr(counts[1], n) - getattr(counts[0], n)) / images for n in ("flops", "bytes", "seconds")}


def step_memory(run: Steps) -> int:
    """Bytes that one step, with what comes before and after it, allocates and holds at once, at most.

    By torch's profiler, on any device; so a CPU can tell about what a GPU would need. (torch's MemTracker refuses
    loops that go through a model more than once.)
    """
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as p:
        run(1)
    sizes = [event.nbytes() for event in p.profiler.kineto_results.events() if event.name() == "[memory]"]
    return int(np.cumsum([0, *sizes]).max())


def machine_speeds(device: torch.device) -> tuple[float, float]:
    """Operations a second of a large matrix product in the stages' precision; bytes a second of a large copy."""
    n = 8192 if device.type == "cuda" else 2048
    dtype = torch.bfloat16 if autocast(device)._enabled else torch.float32
    a = torch.randn(n, n, device=device, dtype=dtype)
    large = torch.randn(2**28 if device.type == "cuda" else 2**26, device=device)  # 1 GB, 256 MB: no cache holds it
    copy = torch.empty_like(large)
    product = images_per_second(repeated(lambda: a @ a), 2 * n**3, 1, 6)
    return product, images_per_second(repeated(lambda: copy.copy_(large)), 2 * large.nbytes, 1, 6)


def throughput_study(
    models: Sequence[str] = MODELS, batch: int | None = None, device: str = "auto", out: Path = RESULTS / "gpu.csv",
) -> pd.DataFrame:  # fmt: skip
    """The speed of every stage on the paper's models; one row a model and stage.

    images_s, plain_images_s: the stage and the plain step; ratio: the one over the other. gflop, mb: 1e9 operations and
    1e6 bytes an image; floor_images_s: what they would allow at `peak_tflops` and `peak_gb_s`; floor_share: percent of
    it that is reached. peak_mb: the most memory held (of the process, on a CPU). batch: a multiple of 4; 256 on a GPU,
    else 8.
    """
    where = pick_device(device)
    few, many = (2, 8) if where.type == "cuda" else (1, 3)

    def compute(model: str, batch: int) -> list[dict]:
        clip = load_clip(model, device=where)
        flops_s, bytes_s = machine_speeds(where)
        found = []
        for stage, run in stage_steps(clip, noise_sets(clip, batch), batch).items():
            images = min(batch, ONE_BY_ONE) if stage == "Fisher" else batch
            with peak_memory(where) as memory:
                speed = images_per_second(run, images, few, many)
            plain = found[0]["images_s"] if found else speed
            least = work(run, images, flops_s, bytes_s)
            numbers = {
                "images_s": speed, "plain_images_s": plain, "ratio": speed / plain, "gflop": least["flops"] / 1e9,
                "mb": least["bytes"] / 1e6, "floor_images_s": 1 / least["seconds"],
                "floor_share": 100 * speed * least["seconds"], "peak_tflops": flops_s / 1e12,
                "peak_gb_s": bytes_s / 1e9, "peak_mb": memory["MB"],
            }  # fmt: skip
            found.append({"stage": stage, **{name: float(f"{value:.5g}") for name, value in numbers.items()}})
        return found

    runs = [{"model": model, "batch": batch or (256 if where.type == "cuda" else 8)} for model in models]
    return Rows(out, ["model", "batch", "device"], where).fill(runs, compute)


def memory_study(
    models: Sequence[str] = ("RN50",), batch: int = 256, device: str = "auto", out: Path = RESULTS / "memory.csv"
) -> pd.DataFrame:
    """How much memory a step of so many images needs, counted; one row a model and stage.

    held_gb: what is allocated at once, at most, beside weights_gb, the original model and another one. A CPU needs that
    much memory, too, to count it.
    """

    def compute(model: str, batch: int) -> list[dict]:
        clip = load_clip(model, device=device)
        weights = round(2 * sum(p.nbytes for p in clip.model.parameters()) / 1e9, 3)
        runs = stage_steps(clip, noise_sets(clip, batch), batch)
        return [
            {"stage": stage, "held_gb": round(step_memory(run) / 1e9, 3), "weights_gb": weights}
            for stage, run in runs.items()
        ]

    runs = [{"model": model, "batch": batch} for model in models]
    return Rows(out, ["model", "batch", "device"], pick_device(device)).fill(runs, compute)
