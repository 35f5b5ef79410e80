"""Every attack by hand on a few numbers; the audit of models that hide, flip or forget the target."""

from dataclasses import replace
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from synthetic_data import coloured_set

from forgetkit import audit
from forgetkit.auditing import attacks, estimates, limits, report, retraining, views
from forgetkit.auditing.attacks import Embedded, View
from forgetkit.evaluation import recognised
from forgetkit.models import loading, saving
from forgetkit.models.clip import Inputs, batch_norms
from forgetkit.models.prefix import n_frozen

matplotlib.use("Agg")


# --------------------------------------------------------------------------------------------------
# Estimates


def test_hanley_mcneil_interval_holds_the_truth_about_95_times_in_100():
    generator, held = torch.Generator().manual_seed(0), 0
    for _ in range(200):
        a = estimates.auroc(torch.randn(50, generator=generator) + 1, torch.randn(80, generator=generator))
        held += a.low <= 0.7602 <= a.high  # Phi(1 / sqrt 2)
    assert 180 <= held <= 199


def test_the_interval_of_an_average_precision_holds_its_value():
    relevant, scores = torch.arange(200) % 2 == 0, torch.randn(200, generator=torch.Generator().manual_seed(1))
    found = estimates.average_precision(scores, relevant)
    assert found.low < found.value < found.high < found.low + 30 and found.n == 200
    rare = estimates.average_precision(scores, torch.arange(200) == 7)  # a third of all draws have no such image
    assert 0 < rare.low <= rare.value <= rare.high


# --------------------------------------------------------------------------------------------------
# Attacks

HEAD = torch.eye(3)  # the target's text, its sibling's and another's


def embedded(*rows: tuple[float, float, float, int]) -> Embedded:
    """Images (similarity to each of the three texts, label): label 0 is the target, 1 its sibling."""
    z, labels = torch.tensor(rows)[:, :3], torch.tensor(rows)[:, 3].long()
    return Embedded(z, labels, labels == 0, labels == 1)


@pytest.fixture
def view() -> View:
    """Test gaps 8 and -4 for the target, -5 and -6 for the others; validation gaps 10, -10 and -10."""
    test = embedded((0.9, 0.1, 0.0, 0), (0.2, 0.6, 0.0, 0), (0.3, 0.8, 0.1, 1), (0.1, 0.0, 0.7, 2))
    validation = embedded((1.0, 0.0, 0.0, 0), (0.0, 1.0, 0.0, 1), (0.0, 0.0, 1.0, 2))
    return View(HEAD, 0, 10.0, validation, test, torch.tensor([[0.9, 0.1, 0.0]]))


def test_the_name_and_the_offset(view):
    assert view.gap(view.test)[0].tolist() == pytest.approx([8, -4, -5, -6])
    assert attacks.target_accuracy(view).value == 50
    b = attacks.offset(view, 1 / 3)  # on validation images: two thirds of the way from -10, -10 to 10
    assert b == pytest.approx(10 / 3, abs=1e-4)
    assert attacks.offset_recall(view, b).value == 50 and attacks.offset_recall(view, 4.5).value == 100
    assert attacks.rest_accuracy(view, 4.5).value == 100 and attacks.rest_accuracy(view, 5.5).value == 50
    others = replace(view.validation, labels=view.validation.labels.flip(0), target=~view.validation.target)
    assert attacks.offset(replace(view, validation=others), 1 / 3) == b, "without a label"


def test_other_names_and_templates(view):
    texts = torch.tensor([[0.0, 0.0, 0.5], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    assert attacks.best_text(view, texts) == 1, "of validation images, where the third claims the sibling's"
    assert [attacks.named_by(view, texts[[i]]).value for i in (0, 1, 2)] == [0, 50, 100]
    assert attacks.named_by(view, texts[[0, 1]]).value == 50, "at least one of them"
    swapped = HEAD[[1, 0, 2]]
    assert attacks.target_accuracy(replace(view, head=swapped)).value == 50, "the other of the two"
    assert attacks.best_template(view, torch.stack([swapped, HEAD])) == 1


def test_similarity_to_the_text(view):
    assert attacks.text_auroc(view).value == 3 / 4, "0.9 and 0.2 above 0.3 and 0.1"
    assert attacks.text_auroc(view, siblings=True).value == 1 / 2
    assert estimates.auroc(torch.tensor([1.0, 0.0]), torch.tensor([1.0])).value == 1 / 4, "ties half"
    found = attacks.text_to_image(view)
    assert found["recall at R"].value == 50 and found["AP"].value == pytest.approx(100 * (1 + 2 / 3) / 2)


def test_neighbours_prototypes_and_planes_are_those_of_validation_images(view):
    attackers = (lambda v: attacks.nearest_recall(v, k=1), attacks.prototype_recall, attacks.probe_recall)
    assert [attack(view).value for attack in attackers] == [50] * 3
    sibling = replace(view.validation, labels=torch.tensor([1, 0, 2]), target=torch.tensor([False, True, False]))
    other = replace(view, validation=sibling, test=replace(view.test, z=view.test.z[[0, 0, 2, 3]]))
    assert [attack(other).value for attack in attackers] == [0] * 3, "what they call it follows validation labels"
    assert attacks.nearest_recall(view, k=3).value == 0, "a vote each: a tie is not the target's"
    same = replace(view.validation, labels=torch.tensor([1, 1, 2]))  # the sibling bears the target's name
    assert [attack(replace(view, validation=same)).value for attack in attackers] == [50] * 3


def test_a_view_of_few_images_and_of_other_vectors(view):
    validation = embedded((1.0, 0.0, 0.0, 0), (0.9, 0.0, 0.0, 0), (0.0, 1.0, 0.0, 1), (0.0, 0.0, 1.0, 2))
    few = replace(view, validation=validation).few(1)
    assert sorted(few.validation.labels.tolist()) == [0, 1, 2] and few.test is view.test
    other = view.of(view.validation.z + 5, view.test.z + 5)
    torch.testing.assert_close(other.validation.z.mean(0), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(other.test.z - other.validation.z[:1], view.test.z - view.validation.z[:1])
    assert view.beneath is None, "where no block is known"


def test_a_probe_minimises_the_loss_of_its_equation():
    generator = torch.Generator().manual_seed(0)
    z, labels = torch.randn(90, 5, generator=generator), torch.arange(90) % 3
    z[:, 0] += labels
    part = Embedded(z, labels, labels == 0, labels == 1)
    x, decay = (z - z.mean(0)) / z.std(0, correction=0), 0.1
    weight, bias = torch.zeros(5, 3, requires_grad=True), torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(x @ weight + bias, labels) + decay / 2 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    expected = ((x @ weight + bias).argmax(1) == 0)[labels == 0]
    found = attacks.probe_recall(View(torch.eye(3, 5), 0, 1.0, part, part, z), decay)
    assert found.value == pytest.approx(100 * expected.double().mean().item())


def test_membership_is_above_half_where_d_f_fits_better(view):
    assert attacks.membership(view).value == 3 / 4, "as the first test image, better than the second"
    assert attacks.membership(replace(view, forget=torch.tensor([[0.0, 0.9, 0.0]]))).value == 0


# --------------------------------------------------------------------------------------------------
# Limits


def test_limits_follow_the_oracle():
    def alarm(name: str, *values: float | None) -> bool:
        return limits.LINES[name].limit(*values)[1]

    assert alarm("offset recall", 60.0, 19.0, None) and not alarm("offset recall", 60.0, 17.0, None)
    assert alarm("offset recall", 60.0, 44.0, 40.0) and not alarm("offset recall", 60.0, 42.0, 40.0)
    auroc = "AUROC, target against all"
    assert alarm(auroc, 0.95, 0.16, None) and alarm(auroc, 0.95, 0.16, 0.8) and alarm(auroc, 0.95, 0.9, None)
    assert not alarm(auroc, 0.95, 0.6, None) and not alarm(auroc, 0.95, 0.9, 0.88)
    assert not alarm(auroc, 0.3, 0.25, None), "the original's text did not know them either"
    assert alarm("synonyms", 60.0, 6.0, None) and not alarm("synonyms", 60.0, 6.0, 3.0)
    assert alarm("other word", 1.0, 30.0, None) and not alarm("other word", 40.0, 42.0, None)
    assert alarm("membership AUROC", 0.51, 0.4, None) and not alarm("membership AUROC", 0.56, 0.56, None)
    steps = "relearning from 5, to 80 %"
    assert alarm(steps, 0.0, 3.0, 12.0) and not alarm(steps, 0.0, 8.0, 12.0) and not alarm(steps, 0.0, 1.0, None)


def test_an_oracle_is_its_own_limit():
    for name, line in limits.LINES.items():
        for value in (0.0, 0.3, 0.5, 0.9, 3.0, 23.0, 80.0) if line.unit else (0.46, 0.5, 0.54):
            assert not line.limit(50.0 if line.unit else 0.5, value, value)[1], name
        assert line.means and (not line.rule or line.reason), name


# --------------------------------------------------------------------------------------------------
# Models


def moved(clip, name: str, change):
    """The model with its last projection's weight and bias changed: change(W, b) -> W, b."""
    copy = clip.copy(name)
    last = copy.model.visual.attnpool.c_proj
    with torch.no_grad():
        weight, bias = change(last.weight.clone(), last.bias.clone())
        last.weight.copy_(weight)
        last.bias.copy_(bias)
    return copy


def lowering(clip, sets):
    """A change for `moved`: every image's embedding loses as much of the target's own direction as it is long."""
    with torch.no_grad():
        length = clip.model.encode_image(sets.forget.images).float().norm(dim=1).mean()
    return lambda weight, bias: (weight, bias - length * direction(sets.head))


def direction(head: torch.Tensor) -> torch.Tensor:
    """The part of the target's class embedding that no other spans, (D,) unit."""
    basis = torch.linalg.qr(head[1:].T).Q
    return F.normalize(head[0] - basis @ (basis.T @ head[0]), dim=0)


QUICK = {"checks": (1, 2)}


@pytest.fixture(scope="module")
def found(mini, ready):
    """Audits of a model that lowers the target's level, of one that flips it, and of an oracle beside itself."""
    v = direction(ready.head)
    flip = torch.eye(len(v)) - 2 * torch.outer(v, v)
    low = moved(mini, "low", lowering(mini, ready))
    turned = moved(mini, "turned", lambda w, b: (flip @ w, flip @ b))
    return {
        "low": audit(mini, low, ready, **QUICK),
        "turned": audit(mini, turned, ready, ["crimson"], **QUICK),
        "oracle": audit(mini, turned, ready, ["crimson"], oracle=turned.copy("never"), **QUICK),
    }


def line(result, measure: str) -> pd.Series:
    return result.table.set_index("measure").loc[measure]


def test_a_hidden_target_raises_the_alarm_of_the_offset(found):
    accuracy, recall = line(found["low"], "target accuracy"), line(found["low"], "offset recall")
    assert accuracy["original"] > 80 and accuracy["unlearned"] < 5
    assert recall["unlearned"] > 0.9 * recall["original"] and recall["alarm"]
    assert line(found["low"], "offset")["unlearned"] > line(found["low"], "offset")["original"] + 1
    assert any(text.startswith("offset recall: ") for text in found["low"].alarms)


def test_a_flipped_target_raises_the_alarm_of_the_sign(found):
    auroc = line(found["turned"], "AUROC, target against all")
    assert auroc["original"] > 0.9 and auroc["unlearned"] < 0.4 and auroc["alarm"]


def test_a_limit_says_what_it_rests_on(found):
    alone, beside = found["turned"], found["oracle"]
    assert alone.alarms and not beside.alarms, "an oracle beside itself raises none"
    assert line(alone, "offset recall")["limited_by"] == limits.CATS, "its shares were those of cats"
    assert line(alone, "synonyms")["limited_by"] == limits.GUESS
    assert line(beside, "offset recall")["limited_by"] == limits.ORACLE
    auroc = limits.LINES["AUROC, target against all"]
    assert [auroc.limited_by(0.9, 0.5, oracle) for oracle in (None, 0.6, 0.9)] == [limits.GUESS] * 2 + [limits.ORACLE]
    assert ((alone.table["limit"] == "") == (alone.table["limited_by"] == "")).all()
    assert all(f"({limits.GUESS})" in alarm or f"({limits.CATS})" in alarm for alarm in alone.alarms)


def test_a_saved_card_carries_the_audit(mini, found, tmp_path):
    table = found["oracle"].table.copy()
    steps = table["measure"] == "relearning from 5, to 80 %"
    table.loc[steps, ["original", "unlearned", "oracle", "low", "high"]] = np.inf
    moved(mini, "low", lambda *w: w).save(tmp_path, audit=replace(found["oracle"], table=table))
    audit = loading.load_clip(f"local-dir:{tmp_path}", device="cpu").record["audit"]
    assert len(audit["rows"]) == len(found["oracle"].rows) and len(audit["table"]) == len(table)
    name, value = table.loc[0, ["measure", "unlearned"]]
    assert audit["table"][0]["measure"] == name and audit["table"][0]["unlearned"] == value
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| measure | unit | original | unlearned | oracle |" in card and "No alarm was raised." in card
    assert "| relearning from 5, to 80 % | steps | never | never | never | never to never |" in card
    with pytest.raises(saving.ModelError, match="no forgetting card"):
        saving.add_to_card(tmp_path / "nowhere", audit={})


def test_every_figure_has_its_interval_and_its_meaning(found):
    table, rows = found["oracle"].table, found["oracle"].rows
    assert set(rows["model"]) == {"original", "unlearned", "oracle"} and len(rows) == 3 * len(table)
    assert (table["n"] > 0).all() and table["means"].str.len().min() > 10
    bounded = rows[rows["measure"] != "offset"]
    outside = (bounded["low"] > bounded["value"] + 1e-6) | (bounded["value"] > bounded["high"] + 1e-6)
    assert not outside.any(), bounded[outside].to_string()
    assert set(limits.LINES) - set(table["measure"]) <= {
        "synonyms",
        "other word",
        "sketches named",
        "icons named",
    }
    assert line(found["turned"], "synonyms")["chosen"] == "crimson"


def test_the_figure_shows_every_line_and_marks_alarms(found):
    from forgetkit.lessons.figures import COLOURS, audited

    figure = audited(found["turned"].table, found["turned"].rows)
    labels = [text for axis in figure.axes for text in axis.get_yticklabels()]
    table = found["turned"].table
    assert {text.get_text() for text in labels} == set(table.loc[table["unit"].isin(["%", "", "steps"]), "measure"])
    coloured = {text.get_text() for text in labels if text.get_color() == COLOURS["target"]}
    assert coloured == set(table.loc[table["alarm"] & table["unit"].isin(["%", "", "steps"]), "measure"])
    assert all(axis.get_xlabel() and axis.get_ylabel() for axis in figure.axes)


def test_models_are_left_as_they_were_and_audits_repeat(mini, ready, found):
    before = {n: t.clone() for n, t in mini.model.state_dict().items()}
    again = audit(mini, mini, ready, **QUICK)
    assert all(torch.equal(t, before[n]) for n, t in mini.model.state_dict().items())
    own = [result.table.set_index("measure")["original"] for result in (again, found["low"])]
    assert own[0].drop(["other word", "other template"]).equals(own[1].drop(["other word", "other template"]))


def test_an_audit_of_one_label_tells_the_target_from_its_siblings(mini, ready):
    """Siblings that bear the target's label: the name is theirs, too, and probes look for the target alone."""
    one = lambda columns: {**columns, "retain": replace(columns["retain"], labels=0 * columns["retain"].labels)}
    table = audit(mini, mini, replace(ready, validation=one(ready.validation), test=one(ready.test)), **QUICK).table
    found = table.set_index("measure")["unlearned"]
    assert found["probe recall"] > 80 and found["probe beneath"] > 80 and found["20-NN recall"] > 80
    assert found["target accuracy"] == recognised(mini, ready.test["target"], ready.head)
    assert {"soft prompt", "statistics anew"} <= {*found.index}


def test_a_model_with_its_own_text_tower_speaks_for_itself(mini, ready):
    other = mini.copy("other")
    with torch.no_grad():
        next(p for name, p in other.model.named_parameters() if not name.startswith("visual.")).neg_()
    assert views.same_texts(mini, moved(mini, "low", lowering(mini, ready))), "the image tower does not matter"
    assert not views.same_texts(mini, other)


def test_what_cannot_be_audited_is_told(mini, ready):
    with pytest.raises(ValueError, match="several labels"):
        mixed = {**ready.test, "target": ready.test["retain"]}
        audit(mini, mini, replace(ready, test=mixed), **QUICK)


# --------------------------------------------------------------------------------------------------
# Weights


def test_relearning_counts_the_steps_to_each_level(monkeypatch):
    """A student is the number of its steps; of 200 images it knows so many of the target's and of the siblings'."""
    known = {"shown": {0: 0, 1: 60, 3: 108, 10: 180, 20: 190}, "siblings": {0: 200, 1: 180, 3: 160, 10: 140, 20: 100}}
    target, others, shown, siblings = (
        Inputs(name, torch.ones(200).long(), (), ()) for name in ("target", "others", "shown", "siblings")
    )
    taught = []

    def fine_tuned(clip, head, pools, steps, seed, done):
        taught.extend(pool.images for pool in pools)
        assert [step for step in range(steps + 1) if done(step, step)] == [10, *range(11, 21)], (
            "80 % with 95 % certainty"
        )

    monkeypatch.setattr(retraining, "fine_tuned", fine_tuned)
    monkeypatch.setattr(retraining, "predict", lambda step, images, _: (torch.arange(200) < known[images][step]).long())
    given = (None, None, target, others, shown, siblings)
    half, most, cost = retraining.relearning(*given, levels=[50.0, 80.0], checks=(1, 3, 10, 20))
    assert half[:3] == (3, 3, 10), "54 %, between 47 and 61"
    assert (most.value, cost.value) == (10, 70) and taught == ["target", "others"]
    monkeypatch.setattr(retraining, "fine_tuned", lambda *given: [given[-1](step, step) for step in (0, 1, 3)])
    _, never, cost = retraining.relearning(*given, levels=[50.0, 101.0], checks=(1, 3))
    assert never.value == np.inf and cost.value == 80, "after the last step"


def test_benign_relearning_reads_neither_the_targets_images_nor_its_text(mini, ready, monkeypatch):
    siblings, shown, taught = mini.inputs(ready.validation["retain"]), mini.inputs(ready.test["target"]), []
    monkeypatch.setattr(retraining, "fine_tuned", lambda clip, *given: taught.append(given) or clip)
    found = retraining.benign_relearning(mini, ready.head, siblings, shown, steps=7)
    ((head, (pool,), steps, _),) = taught
    assert torch.equal(head, ready.head[[1, 2]]) and steps == 7
    assert torch.equal(pool.images, siblings.images) and torch.equal(pool.labels, siblings.labels - 1)
    assert found.value == recognised(mini, shown, ready.head), "measured with all texts"


def test_new_statistics_bring_back_what_rests_on_the_old(mini, ready):
    """A model whose last statistics were shifted, weights as they were, names all again once they are taken anew."""
    shifted = mini.copy("shifted")
    last = [*batch_norms(shifted.model).values()][-1]
    last.running_mean += 3 * last.running_var.sqrt() * torch.linspace(-1, 1, len(last.running_mean)).sign()
    images = torch.cat([mini.inputs(part).images for part in ready.validation.values()])
    own, shown = {n: t.clone() for n, t in shifted.model.state_dict().items()}, mini.inputs(ready.test["target"])
    anew = retraining.statistics_anew(shifted, images)
    assert all(torch.equal(t, own[n]) for n, t in shifted.model.state_dict().items()), "the model given is left alone"
    assert all(torch.equal(t, own[n]) for n, t in anew.model.named_parameters()) and not anew.model.training
    torch.testing.assert_close(anew.embed(shown.images), retraining.statistics_anew(mini, images).embed(shown.images))
    found = retraining.by_statistics(shifted, images, ready.head, shown, shown)
    assert found["statistics anew"].value == recognised(anew, shown, ready.head)
    mean = retraining.statistics_anew(mini, images, batch=len(images)).model.visual.bn1.running_mean
    with torch.no_grad():
        own_mean = mini.model.visual.conv1(images).mean((0, 2, 3))
    torch.testing.assert_close(mean, own_mean, atol=1e-2, rtol=2e-2)


def test_without_batch_norm_there_are_no_statistics(vit):
    assert retraining.by_statistics(vit, torch.zeros(2, 3, 32, 32), None, None, None) == {}


def test_depth_asks_every_block(mini, ready):
    """A model whose attention pool alone is ruined: every block still knows as much as the original's."""
    ruined = moved(mini, "ruined", lambda weight, bias: (torch.zeros_like(weight), torch.ones_like(bias)))
    table = views.depth({"original": mini, "unlearned": ruined}, ready, most=20)
    blocks = ["stem", *(f"layer{n}.{i}" for n, last in ((1, 1), (2, 3), (3, 4), (4, 2)) for i in range(last))]
    assert [*dict.fromkeys(table["block"])] == [*blocks, "embedding"]
    found = table.pivot(index="block", columns=["measure", "model"], values="value")
    assert set(found["probe"].columns) == {"original", "unlearned"}
    for measure in ("probe", "ten-image probe", "20-NN"):
        assert (found.loc[blocks, (measure, "original")] == found.loc[blocks, (measure, "unlearned")]).all()
    assert found.loc["layer4.1", ("probe", "unlearned")] > 80 > found.loc["embedding", ("probe", "unlearned")]
    seen = views.views_of({"original": mini}, ready, 0)["original"].test
    (alone,) = views.pooled(mini, ready.test["target"].images, [n_frozen(mini.model.visual, ())])
    torch.testing.assert_close(seen.beneath[seen.target], alone, atol=0.02, rtol=0.02)


def test_what_enters_the_last_block_is_known_of_a_vit_too(vit):
    sets = coloured_set(5, 0)
    (seen,) = views.embedded([vit], {"target": sets, "retain": sets})
    (tokens,) = views.pooled(vit, sets.images, [n_frozen(vit.model.visual, ())])
    torch.testing.assert_close(seen.beneath, tokens.repeat(2, 1), atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(seen.z, vit.embed(sets.images).repeat(2, 1), atol=1e-2, rtol=1e-2)


def test_a_soft_prompt_finds_words_for_images_that_lost_their_name(mini):
    """Images that lie where the text tower puts "horse" and two other words; the target's own text names none."""
    texts = mini.head(("horse", "truck", "ship"), ("a photo of a {}.",)).repeat_interleave(10, 0)
    noise = torch.randn(texts.shape, generator=torch.Generator().manual_seed(0))
    z, labels = F.normalize(texts + 0.02 * noise, dim=1), torch.arange(3).repeat_interleave(10)
    part, before = Embedded(z, labels, labels == 0, labels == 1), [t.clone() for t in mini.model.parameters()]
    head = torch.cat([-texts[:1], texts[[10, 20]]])
    view = View(head, 0, mini.scale.item(), part, part, z)
    text = retraining.soft_prompt(mini, view, "a photo of a {}.")
    assert attacks.target_accuracy(view).value == 0 and attacks.named_by(view, text[None]).value > 90
    told = replace(view, head=torch.cat([text[None], head[1:]]))
    assert attacks.rest_accuracy(told).value > 90 and text.norm().item() == pytest.approx(1, abs=1e-4)
    assert all(torch.equal(*pair) for pair in zip(before, mini.model.parameters())), "no weight is changed"
    assert retraining.soft_prompt(replace(mini, model=mini.model.visual), view, "a {}.") is None


def test_features_before_the_last_block_train_that_block_alone(mini, ready):
    part = mini.inputs(ready.validation["target"]).take(slice(8))
    behind = retraining.before_last(mini, part)
    student = retraining.fine_tuned(mini, ready.head, (behind,), 2, 0)
    changed = {
        n
        for n, t in student.model.visual.named_parameters()
        if not torch.equal(t, dict(mini.model.visual.named_parameters())[n])
    }
    assert changed and all(name.startswith("attnpool.") for name in changed)


def test_fine_tuning_lowers_the_loss_of_every_pool_and_leaves_the_model(mini, ready):
    pools = [mini.inputs(ready.validation[name]).take(slice(8)) for name in ("target", "retain")]
    head = torch.cat([-ready.head[:1], ready.head[1:]])  # so that the target has to be learnt

    def losses(clip) -> list[float]:
        with torch.no_grad():
            z = [clip.embed_tensor(pool.images) for pool in pools]
        return [F.cross_entropy(clip.scale * x @ head.T, pool.labels).item() for x, pool in zip(z, pools)]

    before, asked = losses(mini), []
    after = losses(
        retraining.fine_tuned(mini, head, pools, 9, 0, lambda step, student: asked.append(step) or step == 3)
    )
    assert after[0] < before[0] and sum(after) < sum(before) and losses(mini) == before
    assert asked == [0, 1, 2, 3], "before the first step and after each, until it is done"


def test_rounding_keeps_close_and_lies_on_the_grid(mini):
    weight = mini.model.visual.attnpool.c_proj.weight
    eighth = retraining.rounded(mini).model.visual.attnpool.c_proj.weight
    step = weight.abs().max(1).values / 127
    assert ((eighth - weight).abs() <= 0.51 * step[:, None]).all() and len(eighth[0].unique()) <= 255


# --------------------------------------------------------------------------------------------------
# The command line


def test_the_command_line_reads_a_saved_folder(mini, ready, monkeypatch, tmp_path):
    from forgetkit.__main__ import forgetkit as command

    asked = []
    said = {"subgroup": ready.subgroup, "seed": 3, "previous_targets": ["black"]}
    moved(mini, "low", lowering(mini, ready)).save(tmp_path / "model", **said)
    weights = (tmp_path / "model" / saving.WEIGHTS).stat().st_mtime_ns
    monkeypatch.setattr(
        report, "tutorial_sets", lambda *given: asked.append(given) or SimpleNamespace(on=lambda _: ready)
    )
    monkeypatch.setattr(report, "audit", lambda *given, **more: audit(*given, **more, **QUICK))
    done = CliRunner().invoke(command, ["audit", str(tmp_path / "model"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert asked[0][:3] == ("red", 3, "class"), "target and seed come from the card"
    assert asked[0][4] == ["black"], "and so does what was forgotten before"
    assert "Alarm: offset recall" in done.output and (tmp_path / "out/audit.png").exists()
    table = pd.read_csv(tmp_path / "out/audit.csv")
    assert len(table) > 20
    record = loading.load_clip(f"local-dir:{tmp_path / 'model'}", device="cpu").record
    kept = pd.DataFrame(record["audit"]["table"])
    assert kept["measure"].tolist() == table["measure"].tolist() and kept["alarm"].tolist() == table["alarm"].tolist()
    assert record["seed"] == 3 and (tmp_path / "model" / saving.WEIGHTS).stat().st_mtime_ns == weights
    card = (tmp_path / "model/README.md").read_text(encoding="utf-8")
    recall = table.set_index("measure").loc["offset recall"]
    assert f"| offset recall | % | {recall['original']:.1f} | {recall['unlearned']:.1f} |" in card
    assert "- offset recall: " in card and "previous targets | black" in card
    plain = moved(mini, "plain", lowering(mini, ready))
    plain.record["source"] = {**plain.record["source"], "sha256": "0" * 64}
    plain.save(tmp_path / "stranger")
    done = CliRunner().invoke(command, ["audit", str(tmp_path / "stranger"), "--target", "red"])
    assert isinstance(done.exception, ValueError) and "SHA-256" in str(done.exception)
    mini.save(tmp_path / "unsaid")
    done = CliRunner().invoke(command, ["audit", str(tmp_path / "unsaid")])
    assert isinstance(done.exception, ValueError) and "--target" in str(done.exception)
