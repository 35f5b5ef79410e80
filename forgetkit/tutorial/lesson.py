"""What every notebook of the series does besides its subject: check its parameters, show source, tell the time."""

from __future__ import annotations

import inspect
import time
from contextlib import contextmanager

import open_clip
import torch
from IPython.display import Markdown
from torch.optim.optimizer import register_optimizer_step_post_hook

from forgetkit.models.clip import Clip, describe, pick_device
from forgetkit.data.tutorial import KINDS, targets
from forgetkit.models.loading import register_mini
from forgetkit.batch.notebook import execute, known_parameters  # noqa: F401 - in reach of every lesson
from forgetkit.recipe import Recipe

CHECKED = ("kind", "target", "seed", "recipe", "model", "device")  # and sizes, n_...
_started = time.perf_counter()


def check_parameters(**values) -> None:
    """Raise ValueError, naming what there is to choose from, for a wrong parameter; call it first.

    Known are: kind, target (of that kind), seed, recipe, model, device, and sizes (n_...).
    """
    kind = values.get("kind", "class")
    for name, value in values.items():
        if name == "kind" and kind not in KINDS:
            raise ValueError(f"kind={kind!r}: choose one of {', '.join(KINDS)}.")
        elif name == "target" and value not in targets(kind):
            raise ValueError(f"target={value!r} is no {kind} here: choose one of {', '.join(targets(kind))}.")
        elif name == "recipe":
            Recipe.named(value)
        elif name == "model":
            register_mini()
            if value != "mini" and value not in open_clip.list_models():
                raise ValueError(f"model={value!r}: choose 'mini', or one of open_clip.list_models() such as 'RN50'.")
        elif name == "device":
            try:
                torch.empty(1, device=pick_device(value))
            except (RuntimeError, AssertionError) as error:
                raise ValueError(f"device={value!r} cannot be used here: choose 'auto' or 'cpu'.") from error
        elif name == "seed" or name.startswith("n_"):
            least = 0 if name == "seed" else 1
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name}={value!r}: a whole number, at least {least}.")
        elif name not in ("kind", "target"):
            raise ValueError(f"There is no parameter {name!r}.")


def source(*objects) -> Markdown:
    """The source of functions and classes, as it stands in the package."""
    blocks = [f"```python\n# {o.__module__}\n{inspect.getsource(o).rstrip()}\n```" for o in objects]
    return Markdown("\n\n".join(blocks))


def elapsed(clip: Clip) -> str:
    """How long this notebook took, since it imported this module, and where."""
    return f"{time.perf_counter() - _started:.0f} s on {describe(clip.device)}"


@contextmanager
def weights_by_step():
    """Collect what any torch optimiser trains, after each of its steps: a list of flat copies, (weights,) each.

    It looks on from outside, so that a stage can be watched without a change to it.
    """
    path: list[torch.Tensor] = []

    def look(optimizer, args, kwargs):
        params = [p for group in optimizer.param_groups for p in group["params"]]
        path.append(torch.cat([p.detach().flatten().cpu() for p in params]))

    handle = register_optimizer_step_post_hook(look)
    try:
        yield path
    finally:
        handle.remove()
