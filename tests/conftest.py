"""Shared fixtures: a small random CLIP, synthetic images that need no download, and the embedded mini-CLIP.

Nothing heavy is imported above: with `pytest -n 2`, the process that only hands out the tests reads this, too.
"""

import os

import pytest

if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):  # a worker, in which nothing has imported torch yet
    from forgetkit.batch.run import THREADS, cores

    os.environ |= dict.fromkeys(THREADS, str(max(1, cores() // workers)))
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # a thread that waits leaves its core to the other worker


def pytest_collection_modifyitems(items):
    """Long tests first, in each half of the list: a worker begins with a half, and short tests even out the end."""
    lessons = [item for item in items if item.get_closest_marker("lesson")]
    slow = [item for item in items if item.get_closest_marker("slow") and item not in lessons]
    quick = [item for item in items if not item.get_closest_marker("slow")]
    first = [*lessons[::2], *slow[: len(slow) // 2]]
    rest = len(items) // 2 - len(first)
    if rest >= 0:  # else there are hardly any quick ones: the order stays
        items[:] = [*first, *quick[:rest], *lessons[1::2], *slow[len(slow) // 2 :], *quick[rest:]]


@pytest.fixture
def resnet():
    from synthetic_data import random_clip

    return random_clip(dict(image_size=64, layers=[1, 1, 1, 1], width=8, patch_size=None))


@pytest.fixture
def vit():
    from synthetic_data import random_clip

    return random_clip(dict(image_size=32, layers=2, width=64, head_width=32, patch_size=16))


@pytest.fixture(scope="session")
def mini():
    from forgetkit import load_clip

    return load_clip("mini", device="cpu")


@pytest.fixture(scope="session")
def colours():
    """Splits with `red` to forget, `green` and `blue` its siblings, `yellow` as the other class."""
    from synthetic_data import coloured_set

    from forgetkit import Grouped, Subgroup, split
    from forgetkit.data.images import PARTS

    parts = {part: coloured_set(40, seed) for seed, part in enumerate(PARTS)}
    grouped = Grouped(parts, Subgroup("red", ("green", "blue")))
    return split(grouped, n_forget=30, n_retain=30, n_calibration=10)


@pytest.fixture(scope="session")
def ready(mini, colours, prototypes):
    """`colours` as mini-CLIP takes them, with `prototypes` as the head."""
    return colours.on(mini, prototypes)


@pytest.fixture(scope="session")
def prototypes(mini):
    """A head made of images instead of text: the mean embedding of each colour, (4, D) unit rows."""
    import torch
    import torch.nn.functional as F
    from synthetic_data import coloured_set

    part = coloured_set(40, seed=9)
    z = mini.embed(part.images)
    return F.normalize(torch.stack([z[torch.as_tensor(part.labels) == c].mean(0) for c in range(4)]), dim=-1)
