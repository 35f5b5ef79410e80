"""Attacks on finished embeddings: what can still be read off a model that does not say the target's name."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from forgetkit.auditing.estimates import Estimate, auroc, average_precision, mean, share
from forgetkit.auditing.views import APART, View

FEW = 10  # images of each group, for an attacker with few


def target_accuracy(view: View, head: torch.Tensor | None = None) -> Estimate:
    """Percent of the target's test images that are called by its name: gap > 0. All that the Score sees of them.

    head: class texts (C, D) of another template
    """
    return share(view.gap(view.test, head=head)[0, view.test.target] > 0)


def offset(view: View, share_named: float) -> float:
    """The number b, in logits, by which l_T is raised so that gap + b > 0 on that share of the validation images.

    No label is needed: only how common the target is among images. 0 < share_named < 1.
    """
    return -view.gap(view.validation)[0].quantile(1 - share_named).item()


def offset_recall(view: View, b: float) -> Estimate:
    """Percent of the target's test images with gap + b > 0: threshold moving, as for class imbalance."""
    return share(view.gap(view.test)[0, view.test.target] + b > 0)


def rest_accuracy(view: View, b: float = 0.0, text: torch.Tensor | None = None) -> Estimate:
    """Accuracy (%) on all other test images with b added to l_T, or another text (D,) for t_T: what an attack costs."""
    rest, head = ~view.test.target, view.head.clone()
    if text is not None:
        head[view.label] = text
    logits = view.scale * view.test.z[rest] @ head.T
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
    part = view.validation
    return int(torch.stack([(view.gap(part, head=h)[0, part.target] > 0).double().mean() for h in heads]).argmax())


def text_auroc(view: View, siblings: bool = False) -> Estimate:
    """AUROC of z.t_T, the target's test images against all others or against the siblings; see `estimates.auroc`.

    Two-sided: at .5 the text says nothing of the target; near 0 it says all, with the sign turned round.
    """
    s, test = view.similarity(view.test), view.test
    return auroc(s[test.target], s[test.sibling if siblings else ~test.target])


def text_rank(view: View) -> Estimate:
    """Mean rank of t_T among the C class texts on the target's test images: 1 is the most similar, C the least."""
    similarity = view.test.z[view.test.target] @ view.head.T
    return mean(1.0 + (similarity > similarity[:, view.label, None]).sum(1))


def entropy(view: View) -> Estimate:
    """Mean entropy, in nats, of the class probabilities softmax(l) on the target's test images: 0 to log C."""
    logp = F.log_softmax(view.scale * view.test.z[view.test.target] @ view.head.T, dim=1)
    return mean(-(logp.exp() * logp).sum(1))


def nearest_recall(view: View, k: int = 20) -> Estimate:
    """Percent of the target's test images whose k nearest validation images by cosine are mostly the target's.

    The most frequent of the groups wins, in a tie never the target (Cover and Hart, 1967). With fewer than some k / 2
    validation images of the target it can hardly win.
    """
    return found_by(KNeighborsClassifier(min(k, len(view.validation.z)), metric="cosine"), view)


def prototype_recall(view: View) -> Estimate:
    """Percent of the target's test images nearest to its mean validation embedding, among the means of all groups."""
    known = view.validation
    classes, group = known.groups.unique(return_inverse=True)
    means = F.normalize(F.one_hot(group, len(classes)).T.float() @ known.z, dim=1)
    return share(classes[(view.test.z[view.test.target] @ means.T).argmax(1)] == APART)


def probe_recall(view: View, decay: float = 1e-3) -> Estimate:
    """Percent of the target's test images that a linear probe calls the target (Alain and Bengio, 2017).

    Multinomial logistic regression on the validation embeddings, each dimension standardised: mean cross-entropy plus
    decay / 2 |W|^2, which is C = 1 / (N decay) of scikit-learn's.
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


def text_to_image(view: View, least: bool = False) -> dict[str, Estimate]:
    """The target's text as a query among all test images: `recall at R` and `AP`, in percent.

    R: as many as the target has. least: the *least* similar first, as where its text was pushed below other images.
    """
    scores = view.similarity(view.test) * (-1 if least else 1)
    first = scores.topk(int(view.test.target.sum())).indices
    return {"recall at R": share(view.test.target[first]), "AP": average_precision(scores, view.test.target)}


def image_to_image(view: View, most: int = 250) -> dict[str, Estimate]:
    """The target's validation images as queries among all test images: `R@1`, `R@10` and `mAP`, in percent.

    R@k: queries with an image of the target among the k most similar. At most so many queries; n counts them.
    """
    queries = view.validation.z[view.validation.target][:most]
    similarity, target = queries @ view.test.z.T, view.test.target
    hits = target[similarity.topk(min(10, len(target))).indices]
    precision = torch.tensor([average_precision_score(target, scores) for scores in similarity])
    return {"R@1": share(hits[:, 0]), "R@10": share(hits.any(1)), "mAP": mean(100 * precision)}


def membership(view: View) -> Estimate:
    """AUROC of a loss-threshold attack: D_f against test images of the target (Yeom et al., 2018).

    An image scores - loss = log softmax(l)_T; below .5, D_f fits worse than unseen images: it was pushed.
    """
    seen, unseen = (
        F.log_softmax(view.scale * z @ view.head.T, dim=1)[:, view.label]
        for z in (view.forget, view.test.z[view.test.target])
    )
    return auroc(seen, unseen)
