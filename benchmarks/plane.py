"""How far the original's features tell a subgroup from siblings that share its label, and what could be had of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from forgetkit.auditing.estimates import auroc
from forgetkit.data.images import ImageSet
from forgetkit.evaluation import TARGET, percent, predict
from forgetkit.models.clip import Clip, Inputs
from forgetkit.subgroups import ModelSets

BY_A_PLANE = "retain by a plane"  # a column: the siblings that a plane keeps for as much of the target
RIDGES = (100.0, 30.0, 10.0, 1.0, 0.1)
PENALTIES = (1e-4, 1e-3, 1e-2)  # scikit-learn's C


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


def classifier(
    clip: Clip,
    sets: ModelSets,
    columns: Mapping[str, ImageSet | Inputs],
    before: Mapping[str, float],
    n_frozen: int = 0,
) -> dict[str, float]:
    """The original's accuracies, if it gave the label only to what a classifier takes for a sibling.

    Logistic regression of D_f against D_r, on embeddings or on what the first `n_frozen` blocks make of an image. The
    penalty and the threshold are those that sort images left out best, in four folds: as many of the siblings kept as
    of the target lost, of those that the original recognises. before: the original's accuracies, which others keep.
    """

    def look(images) -> torch.Tensor:
        if not n_frozen:
            return clip.embed(images).cpu()
        batches = clip.batches(images, 250)
        return torch.cat([clip.features(x, n_frozen).values.float().flatten(1).cpu() for x in batches])

    parts = (sets.forget, sets.retain)
    x, side = torch.cat([look(part.images) for part in parts]), [1] * len(sets.forget) + [0] * len(sets.retain)
    known = torch.cat([predict(clip, part.images, sets.head) == part.labels.cpu() for part in parts])
    side, best = torch.tensor(side) == 1, (-1.0, PENALTIES[0], 0.0)
    for penalty in PENALTIES:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=1000))
        scores = torch.from_numpy(cross_val_predict(model, x, side, cv=4, method="decision_function"))
        for edge in scores[known].unique().tolist():
            told = scores >= edge  # they would lose the label
            best = max(best, (percent(told[known & side]) + percent(~told[known & ~side]), penalty, edge))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=best[1], max_iter=1000)).fit(x, side)

    def kept(part: ImageSet | Inputs) -> float:
        sibling = torch.from_numpy(model.decision_function(look(part.images))) < best[2]
        return percent(sibling & (predict(clip, part.images, sets.head) == torch.as_tensor(part.labels).cpu()))

    return {**before, **{name: kept(columns[name]) for name in (TARGET, "retain")}}
