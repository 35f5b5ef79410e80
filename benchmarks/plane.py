"""How far a plane through the original's embeddings tells a subgroup from siblings that share its label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from forgetkit.auditing.estimates import auroc
from forgetkit.data.images import ImageSet
from forgetkit.evaluation import TARGET, percent
from forgetkit.models.clip import Clip
from forgetkit.subgroups import ModelSets

BY_A_PLANE = "retain by a plane"  # a column: the siblings that a plane keeps for as much of the target
RIDGES = (100.0, 30.0, 10.0, 1.0, 0.1)


@dataclass(frozen=True)
class Plane:
    """Test images as a plane between D_f and D_r sees them, and whether the original calls them by their class.

    target, siblings (N,): scores, high on the target's side; -inf where it does not recognise them anyway
    """

    target: torch.Tensor
    siblings: torch.Tensor

    def keeps(self, left: float) -> float:
        """Percent of the siblings' images that are recognised and lie on their side of the plane.

        The plane is moved until at most `left` percent of the target's images are recognised and lie there, too.
        """
        beyond = int(round(left * len(self.target) / 100, 6))  # how many of the target's may lie on the siblings' side
        known = self.target[self.target.isfinite()].sort().values
        edge = known[beyond] if beyond < len(known) else float("inf")
        return percent(self.siblings.isfinite() & (self.siblings < edge))


def plane(clip: Clip, sets: ModelSets, test: Mapping[str, ImageSet], ridges: Sequence[float] = RIDGES) -> Plane:
    """The ridge regression of +1 (D_f) and -1 (D_r) on the original's embeddings; sets: `sets.on(clip)`.

    Of the ridges, the first that sorts D_m best, by AUROC. It knows what the stages know. A reference, and no upper
    bound: another plane may keep more.
    """
    z = torch.cat([clip.embed(part.images) for part in (sets.forget, sets.retain)])
    side = torch.ones(len(z), device=z.device)
    side[len(sets.forget) :] = -1
    of = [clip.embed(sets.calibration[name].images) for name in (TARGET, "retain")]

    def direction(ridge: float) -> torch.Tensor:
        return torch.linalg.solve(z.T @ z + ridge * torch.eye(z.shape[1], device=z.device), z.T @ side)

    best = max(map(direction, ridges), key=lambda d: auroc(*((found @ d).cpu() for found in of)).value)

    def scores(part: ImageSet) -> torch.Tensor:
        found = clip.embed(part.images)
        known = (found @ sets.head.T).argmax(1).cpu() == torch.as_tensor(part.labels).cpu()
        return torch.where(known, (found @ best).cpu(), float("-inf"))

    return Plane(scores(test[TARGET]), scores(test["retain"]))
