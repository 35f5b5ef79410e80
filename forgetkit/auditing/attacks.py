"""Attacks on finished embeddings: what can still be read off a model that does not say the target's name.

Throughout, z is a unit image embedding, t_c a unit class text, T the target's class, l_c = scale z.t_c a logit, and

    gap(z) = l_T - max over c other than T of l_c        the image is called T where the gap is positive
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from forgetkit.auditing.estimates import Estimate, auroc, average_precision, share

APART = 10**6  # the group of the target's images; above all labels, so that a tie between neighbours is not theirs
FEW = 10  # images of each group, for an attacker with few


@dataclass(frozen=True)
class Embedded:
    """Images as one model sees them: z (N, D) unit rows; labels (N,); target and sibling (N,), booleans; on the CPU.

    beneath (N, E): what enters the tower's last block (a ResNet's attention pool), meaned over positions, where known
    """

    z: torch.Tensor
    labels: torch.Tensor
    target: torch.Tensor
    sibling: torch.Tensor
    beneath: torch.Tensor | None = None

    @property
    def groups(self) -> torch.Tensor:
        """(N,) the label, and `APART` for images of the target: it may share its label with siblings."""
        return torch.where(self.target, APART, self.labels)


@dataclass(frozen=True)
class View:
    """What an attacker has of one model.

    head (C, D): class texts, unit rows; label: the target's row in it; scale: inverse temperature; bias: a SigLIP's
    validation: images no stage read, the attacker's own; test: the images that figures are of
    forget (N, D): embeddings of D_f, which only the membership attack reads
    """

    head: torch.Tensor
    label: int
    scale: float
    validation: Embedded
    test: Embedded
    forget: torch.Tensor
    bias: float | None = None

    def gap(self, part: Embedded, texts: torch.Tensor | None = None) -> torch.Tensor:
        """The gap in logits, (W, N): with each of W texts (W, D) in the place of the target's own, (1, N) without."""
        own = self.head[self.label : self.label + 1] if texts is None else texts
        others = torch.cat([self.head[: self.label], self.head[self.label + 1 :]])
        return self.scale * (own @ part.z.T - (part.z @ others.T).max(1).values)

    def few(self, n: int) -> View:
        """The same with n validation images of each group alone: what an attacker finds in a minute."""
        known, groups = self.validation, self.validation.groups
        chosen = torch.cat([torch.nonzero(groups == g)[:n, 0] for g in groups.unique()])
        parts = known.z, known.labels, known.target, known.sibling
        return replace(self, validation=Embedded(*(part[chosen] for part in parts)))

    @property
    def beneath(self) -> View | None:
        """The same images as what enters the tower's last block; None where that is not known."""
        return None if self.test.beneath is None else self.of(self.validation.beneath, self.test.beneath)

    def of(self, validation: torch.Tensor, test: torch.Tensor) -> View:
        """The same images as other vectors, such as a block's output: centred on the mean of the validation images."""
        middle = validation.mean(0)
        known, asked = replace(self.validation, z=validation - middle), replace(self.test, z=test - middle)
        return replace(self, validation=known, test=asked)


def target_accuracy(view: View) -> Estimate:
    """Percent of the target's test images that are called by its name, gap > 0."""
    return share(view.gap(view.test)[0, view.test.target] > 0)


def offset(view: View, share_named: float) -> float:
    """The number b, in logits, by which l_T is raised so that gap + b > 0 on that share of the validation images.

    No label is needed: only how common the target is among images. 0 < share_named < 1.
    """
    return -view.gap(view.validation)[0].quantile(1 - share_named).item()


def offset_recall(view: View, b: float) -> Estimate:
    """Percent of the target's test images with gap + b > 0: threshold moving, as for class imbalance."""
    return share(view.gap(view.test)[0, view.test.target] + b > 0)


def rest_accuracy(view: View, b: float = 0.0) -> Estimate:
    """Accuracy (%) on all other test images with b added to l_T: what an attack costs."""
    rest = ~view.test.target
    logits = view.scale * view.test.z[rest] @ view.head.T
    logits[:, view.label] += b
    return share(logits.argmax(1) == view.test.labels[rest])


def named_by(view: View, texts: torch.Tensor) -> Estimate:
    """Percent of the target's test images that at least one of the texts (W, D) claims, put in the place of t_T."""
    return share((view.gap(view.test, texts)[:, view.test.target] > 0).any(0))


def best_text(view: View, texts: torch.Tensor) -> int:
    """Which of W texts (W, D) finds the target best on validation images, by F1 = 2 hits / (named + target images)."""
    named, target = view.gap(view.validation, texts) > 0, view.validation.target
    return int((2 * named[:, target].sum(1) / (named.sum(1) + target.sum())).argmax())


def best_template(view: View, heads: torch.Tensor) -> int:
    """Under which of the templates, heads (M, C, D), most of the target's validation images get its name."""
    gaps = [replace(view, head=head).gap(view.validation)[0, view.validation.target] for head in heads]
    return int(torch.stack([(gap > 0).double().mean() for gap in gaps]).argmax())


def text_auroc(view: View, siblings: bool = False) -> Estimate:
    """AUROC of z.t_T, the target's test images against all others or the siblings: near 0 the sign is turned round."""
    s, test = view.test.z @ view.head[view.label], view.test
    return auroc(s[test.target], s[test.sibling if siblings else ~test.target])


def nearest_recall(view: View, k: int = 20) -> Estimate:
    """Percent of the target's test images whose k nearest validation images (cosine) are mostly its; in a tie, not."""
    return found_by(KNeighborsClassifier(min(k, len(view.validation.z)), metric="cosine"), view)


def prototype_recall(view: View) -> Estimate:
    """Percent of the target's test images nearest to its mean validation embedding, among the means of all groups."""
    known = view.validation
    classes, group = known.groups.unique(return_inverse=True)
    means = F.normalize(F.one_hot(group, len(classes)).T.float() @ known.z, dim=1)
    return share(classes[(view.test.z[view.test.target] @ means.T).argmax(1)] == APART)


def probe_recall(view: View, decay: float = 1e-3) -> Estimate:
    """Percent of the target's test images that a linear probe calls the target (Alain and Bengio, 2017).

    Logistic regression, embeddings standardised: mean cross-entropy plus decay / 2 |W|^2, C = 1 / (N decay).
    """
    probe = LogisticRegression(C=1 / (decay * len(view.validation.z)), max_iter=1000)
    return found_by(make_pipeline(StandardScaler(), probe), view)


def by_probes(view: View) -> dict[str, Estimate]:
    """What finds a class in vectors of any kind: a probe of all validation images, of ten a group, 20 neighbours."""
    return {
        "probe": probe_recall(view),
        "ten-image probe": probe_recall(view.few(FEW), decay=0.1),
        "20-NN": nearest_recall(view),
    }


def found_by(classifier, view: View) -> Estimate:
    """Percent of the target's test images that a classifier of scikit-learn's, fitted on validation, calls it."""
    classifier.fit(view.validation.z.numpy(), view.validation.groups.numpy())
    return share(torch.from_numpy(classifier.predict(view.test.z[view.test.target].numpy()) == APART))


def text_to_image(view: View) -> dict[str, Estimate]:
    """The target's text as a query among all test images: `recall at R`, R being its number, and `AP`, in percent."""
    scores = view.test.z @ view.head[view.label]
    first = scores.topk(int(view.test.target.sum())).indices
    return {"recall at R": share(view.test.target[first]), "AP": average_precision(scores, view.test.target)}


def membership(view: View) -> Estimate:
    """AUROC of a loss-threshold attack: D_f against test images of the target (Yeom et al., 2018).

    An image scores - loss = log softmax(l)_T, of a SigLIP log sigmoid(l_T + bias); below .5, D_f was pushed.
    """
    logits = [view.scale * z @ view.head.T for z in (view.forget, view.test.z[view.test.target])]
    logs = [F.log_softmax(x, dim=1) if view.bias is None else F.logsigmoid(x + view.bias) for x in logits]
    return auroc(*(log[:, view.label] for log in logs))
