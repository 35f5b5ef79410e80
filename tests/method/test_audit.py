"""Attacks on embeddings with known answers; the audit of models that hide, flip or forget the target."""

from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from benchmarks import audit as lab_audit
from forgetkit import audit
from forgetkit.auditing import attacks, estimates, limits, report, retraining
from forgetkit.auditing.attacks import Embedded, View
from forgetkit.evaluation import recognised
from forgetkit.models import loading, saving

matplotlib.use("Agg")
CLASSES, WIDTH = 4, 16
GROUPS = torch.arange(CLASSES)


def part(n: int, seed: int, move=lambda z: z) -> Embedded:
    """n images a class around four texts that are unit vectors; class 0 is the target, 1 its sibling."""
    generator = torch.Generator().manual_seed(seed)
    labels = GROUPS.repeat_interleave(n)
    z = F.normalize(torch.eye(CLASSES, WIDTH)[labels] + 0.3 * torch.randn(len(labels), WIDTH, generator=generator))
    return Embedded(move(z), labels, labels == 0, labels == 1)


def view(move=lambda z: z, forget: int = 9) -> View:
    d_f = part(60, forget, move)
    head = torch.eye(CLASSES, WIDTH)
    return View(head, 0, 20.0, part(60, 1, move), part(60, 2, move), d_f.z[d_f.target])


def lowered(z: torch.Tensor) -> torch.Tensor:
    """The target's logit is 2 * 20 lower on every image, and nothing else has changed."""
    return z - 2 * torch.eye(1, WIDTH)


def flipped(z: torch.Tensor) -> torch.Tensor:
    """The target's text is where its opposite was."""
    return torch.cat([-z[:, :1], z[:, 1:]], dim=1)


def blind(z: torch.Tensor) -> torch.Tensor:
    """What the target's direction says is replaced by noise, the same for every image of a set."""
    noise = torch.randn(len(z), generator=torch.Generator().manual_seed(len(z)))
    return F.normalize(torch.cat([0.2 * noise[:, None], z[:, 1:]], dim=1))


# --------------------------------------------------------------------------------------------------
# Estimates


def test_wilson_agrees_with_published_figures():
    found = estimates.share(torch.tensor([True] * 15 + [False] * 133))  # 15 of 148: Newcombe (1998), table I
    assert (found.low, found.high) == pytest.approx((6.24, 16.05), abs=0.02) and found.n == 148
    assert estimates.share(torch.zeros(20, dtype=torch.bool))[:2] == (0, 0)
    assert estimates.share(torch.zeros(20, dtype=torch.bool)).high == pytest.approx(16.1, abs=0.1)


def test_auroc_counts_pairs_and_ties_half():
    positive, negative = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([1.0, 0.0])
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p in positive for n in negative]
    found = estimates.auroc(positive, negative)
    assert found.value == pytest.approx(np.mean(pairs)) and found.n == 5
    assert estimates.auroc(-positive, -negative).value == pytest.approx(1 - found.value)


def test_hanley_mcneil_interval_holds_the_truth_about_95_times_in_100():
    generator = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(200):
        a = estimates.auroc(torch.randn(50, generator=generator) + 1, torch.randn(80, generator=generator))
        held += a.low <= 0.7602 <= a.high  # Phi(1 / sqrt 2)
    assert 180 <= held <= 199


def test_average_precision_by_hand():
    relevant = torch.tensor([True, False, True, False])
    found = estimates.average_precision(torch.tensor([4.0, 3.0, 2.0, 1.0]), relevant)
    assert found.value == pytest.approx(100 * (1 + 2 / 3) / 2)
    many = torch.arange(200) % 2 == 0
    wide = estimates.average_precision(torch.randn(200, generator=torch.Generator().manual_seed(1)), many)
    assert wide.low < wide.value < wide.high < wide.low + 30


# --------------------------------------------------------------------------------------------------
# Attacks


def test_a_lowered_logit_hides_the_name_and_the_offset_finds_it_again():
    before, after = view(), view(lowered)
    assert attacks.target_accuracy(before).value > 95 and attacks.target_accuracy(after).value == 0
    found = [attacks.offset(v, 0.25) for v in (before, after)]
    assert found[1] - found[0] == pytest.approx(40, abs=1e-3), "the offset is what was taken"
    assert attacks.offset_recall(after, found[1]).value == attacks.offset_recall(before, found[0]).value > 90
    assert attacks.offset_rest(after, found[1]).value == attacks.offset_rest(before, found[0]).value > 90
    assert attacks.text_auroc(after).value == pytest.approx(attacks.text_auroc(before).value), "and no AUROC sees it"


def test_the_offset_names_the_share_asked_for_without_labels():
    before = view()
    for share_named in (0.1, 0.25, 0.5):
        b = attacks.offset(before, share_named)
        named = (before.gap(before.validation)[0] + b > 0).double().mean().item()
        assert named == pytest.approx(share_named, abs=1.5 / len(before.validation.z))
    shuffled = replace(before.validation, labels=before.validation.labels.flip(0), target=~before.validation.target)
    assert attacks.offset(replace(before, validation=shuffled), 0.25) == attacks.offset(before, 0.25)


def test_a_flipped_sign_is_seen_from_the_other_end():
    before, after = view(), view(flipped)
    assert attacks.text_auroc(after).value == pytest.approx(1 - attacks.text_auroc(before).value)
    assert attacks.text_auroc(after, siblings=True).value < 0.1
    assert attacks.text_to_image(after, least=True)["AP"].value == attacks.text_to_image(before)["AP"].value > 90
    assert attacks.text_to_image(after)["recall at R"].value < 10 < attacks.text_to_image(before)["recall at R"].value
    assert attacks.text_rank(after).value > 3.5 > 1.2 > attacks.text_rank(before).value


def test_neighbours_prototype_and_probe_need_no_text():
    hidden, gone = view(flipped), view(blind)
    for attack in (attacks.nearest_recall, attacks.prototype_recall, attacks.probe_recall):
        assert attack(hidden).value > 90, attack.__name__
    rare = replace(gone.validation, z=blind(gone.validation.z)[torch.randperm(len(gone.validation.z))])
    for attack in (attacks.nearest_recall, attacks.prototype_recall, attacks.probe_recall):
        assert attack(replace(gone, validation=rare)).value < 60, "labels that say nothing teach nothing"


def test_attackers_learn_from_validation_images_alone():
    before = view()
    wrong = replace(before, validation=replace(before.validation, labels=(before.validation.labels + 1) % CLASSES))
    wrong = replace(wrong, validation=replace(wrong.validation, target=wrong.validation.labels == 0))
    for attack in (attacks.nearest_recall, attacks.prototype_recall, attacks.probe_recall):
        assert attack(before).value > 90 and attack(wrong).value < 10


def test_image_retrieval_by_hand():
    eye = torch.eye(4)
    labels, target = torch.tensor([0, 1, 0, 1]), torch.tensor([True, False, True, False])
    gallery = Embedded(F.normalize(eye + 0.1 * eye[[1, 2, 3, 0]]), labels, target, ~target)
    queries = Embedded(F.normalize(torch.tensor([[1.0, 0.5, 0.2, 0.0]])), labels[:1], target[:1], ~target[:1])
    found = attacks.image_to_image(View(eye, 0, 1.0, queries, gallery, eye))
    assert found["R@1"].value == 100 and found["mAP"].value == pytest.approx(100 * (1 + 2 / 3) / 2)


def test_another_word_is_found_and_its_recall_measured():
    after, texts = view(lowered), torch.eye(WIDTH)[[9, 8, 3]]
    renamed = view(lambda z: torch.cat([torch.full_like(z[:, :1], -2), z[:, 1:8], z[:, :1], z[:, 9:]], dim=1))
    assert attacks.best_text(renamed, texts) == 1
    assert attacks.named_by(renamed, texts[[1]]).value > 90 > 50 > attacks.named_by(after, texts[[1]]).value
    both = attacks.named_by(renamed, texts[[0, 1]]).value
    assert both >= max(attacks.named_by(renamed, texts[[i]]).value for i in (0, 1)), "a union is no smaller"


def test_the_template_that_helps_most_is_chosen():
    after, head = view(flipped), torch.eye(CLASSES, WIDTH)
    helpful = torch.cat([-head[:1], head[1:]])
    assert attacks.best_template(after, torch.stack([head, helpful])) == 1
    assert attacks.named_under(after, helpful).value > 90 > 5 > attacks.named_under(after, head).value


def test_membership_reads_both_ways():
    same = attacks.membership(view())
    assert same.low < 0.5 < same.high
    pushed, favoured = (F.normalize(view().forget + d * torch.eye(1, WIDTH)) for d in (-1.0, 1.0))
    assert attacks.membership(replace(view(), forget=pushed)).value < 0.2
    assert attacks.membership(replace(view(), forget=favoured)).value > 0.8


def test_entropy_lies_between_certain_and_undecided():
    undecided = view(lambda z: torch.zeros_like(z))
    assert attacks.entropy(undecided).value == pytest.approx(np.log(CLASSES))
    assert attacks.entropy(view()).value < 0.3


# --------------------------------------------------------------------------------------------------
# Limits


def test_limits_follow_the_oracle():
    lines = limits.lines(10, 10.0, (20,))

    def alarm(name: str, *values: float | None) -> bool:
        return lines[name].rule(*values)[1]

    assert alarm("offset recall", 60.0, 19.0, None) and not alarm("offset recall", 60.0, 17.0, None)
    assert alarm("offset recall", 60.0, 44.0, 40.0) and not alarm("offset recall", 60.0, 42.0, 40.0)
    auroc = "AUROC, target against all"
    assert alarm(auroc, 0.95, 0.16, None) and alarm(auroc, 0.95, 0.16, 0.8) and alarm(auroc, 0.95, 0.9, None)
    assert not alarm(auroc, 0.95, 0.6, None) and not alarm(auroc, 0.95, 0.9, 0.88)
    assert not alarm(auroc, 0.3, 0.25, None), "the original's text did not know them either"
    assert alarm("synonyms", 60.0, 6.0, None) and not alarm("synonyms", 60.0, 6.0, 3.0)
    assert alarm("other word", 1.0, 30.0, None) and not alarm("other word", 40.0, 42.0, None)
    assert alarm("membership AUROC", 0.51, 0.4, None) and not alarm("membership AUROC", 0.56, 0.56, None)
    steps = "relearning from 20, to 80 %"
    assert alarm(steps, 0.0, 3.0, 12.0) and not alarm(steps, 0.0, 8.0, 12.0) and not alarm(steps, 0.0, 1.0, None)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_an_oracle_is_its_own_limit(classes):
    for name, line in limits.lines(classes, 10.0, (1, 20)).items():
        for value in (0.0, 0.3, 0.5, 0.9, 3.0, 23.0, 80.0) if line.unit else (0.46, 0.5, 0.54):
            assert not line.rule(50.0 if line.unit else 0.5, value, value)[1], name
        assert line.means and (line.rule is limits.none or line.reason), name


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


QUICK = {"checks": (1, 2), "budgets": (1, 5), "templates": ("{}", "a {}.")}


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
    assert line(found["turned"], "least similar first, AP")["alarm"]


def test_a_limit_says_what_it_rests_on(found):
    alone, beside = found["turned"], found["oracle"]
    assert line(alone, "offset recall")["limited_by"] == limits.CATS, "its shares were those of cats"
    assert line(alone, "synonyms")["limited_by"] == limits.GUESS
    assert line(beside, "offset recall")["limited_by"] == limits.ORACLE
    rank = limits.lines(10, 10.0, ())["rank of the target's text"]
    assert [rank.limited_by(2.0, 8.0, oracle) for oracle in (None, 3.0, 9.0)] == [limits.GUESS] * 2 + [limits.ORACLE]
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


def test_an_oracle_beside_itself_raises_no_alarm(found):
    assert found["turned"].alarms and not found["oracle"].alarms
    same = found["oracle"].table
    assert (same["unlearned"] == same["oracle"]).all()


def test_every_figure_has_its_interval_and_its_meaning(found):
    table, rows = found["oracle"].table, found["oracle"].rows
    assert set(rows["model"]) == {"original", "unlearned", "oracle"} and len(rows) == 3 * len(table)
    assert (table["n"] > 0).all() and table["means"].str.len().min() > 10
    bounded = rows[rows["measure"] != "offset"]
    outside = (bounded["low"] > bounded["value"] + 1e-6) | (bounded["value"] > bounded["high"] + 1e-6)
    assert not outside.any(), bounded[outside].to_string()
    assert set(limits.lines(4, 25.0, (1, 5))) - set(table["measure"]) <= {"synonyms", "other word"}
    assert line(found["turned"], "synonyms")["chosen"] == "crimson"


def test_the_figure_shows_every_line_and_marks_alarms(found):
    from forgetkit.lessons.figures import audited
    from forgetkit.lessons.figures.style import COLOURS

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


def test_a_model_with_its_own_text_tower_speaks_for_itself(mini, ready):
    other = mini.copy("other")
    with torch.no_grad():
        next(p for name, p in other.model.named_parameters() if not name.startswith("visual.")).neg_()
    assert report.same_texts(mini, moved(mini, "low", lowering(mini, ready))), "the image tower does not matter"
    assert not report.same_texts(mini, other)


def test_what_cannot_be_audited_is_told(mini, ready):
    with pytest.raises(ValueError, match="several labels"):
        mixed = {**ready.test, "target": ready.test["retain"]}
        audit(mini, mini, replace(ready, test=mixed), **QUICK)
    with pytest.raises(ValueError, match="columns retain"):
        audit(mini, mini, replace(ready, validation={"target": ready.validation["target"]}), **QUICK)


# --------------------------------------------------------------------------------------------------
# Weights


def test_relearning_counts_steps_until_the_level_is_reached(mini, ready):
    shown, own = mini.inputs(ready.test["target"]), mini.inputs(ready.validation["target"])
    others = mini.inputs(ready.validation["retain"])
    head = torch.cat([-ready.head[:1], ready.head[1:]])  # so that nothing is known at first
    siblings = mini.inputs(ready.test["retain"])
    given = (own, others, shown, siblings)
    half, never, kept = retraining.relearning(mini, head, *given, [50.0, 101.0], (1, 3, 10, 20), seed=0)
    assert half.value in (1, 3, 10, 20) and half.low <= half.value <= half.high and half.n == len(shown)
    assert never.value == np.inf and kept.n == len(siblings)
    known, kept = retraining.relearning(mini, ready.head, *given, [50.0], (1,), seed=0)
    assert known.value == 0 and kept.value == recognised(mini, siblings, ready.head), "what is known needs no step"


def test_benign_relearning_never_reads_the_targets_text(mini, ready):
    siblings, shown = mini.inputs(ready.validation["retain"]), mini.inputs(ready.test["target"])
    moved_head = torch.cat([F.normalize(ready.head[:1] + 3 * ready.head[3:4]), ready.head[1:]])
    pools = [next(iter(retraining.fine_tuned(mini, h[1:3], (replace(siblings, labels=siblings.labels - 1),), 0)))
             for h in (ready.head, moved_head)]  # fmt: skip
    assert torch.equal(*(p.model.visual.attnpool.c_proj.weight for p in pools))
    assert 0 <= retraining.benign_relearning(mini, ready.head, siblings, shown, steps=1).value <= 100


def test_rounding_keeps_close_and_lies_on_the_grid(mini):
    weight = mini.model.visual.attnpool.c_proj.weight
    half = retraining.rounded(mini, "bf16").model.visual.attnpool.c_proj.weight
    assert torch.equal(half, half.bfloat16().float()) and not torch.equal(half, weight)
    eighth = retraining.rounded(mini, "int8").model.visual.attnpool.c_proj.weight
    step = weight.abs().max(1).values / 127
    assert ((eighth - weight).abs() <= 0.51 * step[:, None]).all() and len(eighth[0].unique()) <= 255


# --------------------------------------------------------------------------------------------------
# Rows and the command line


def test_rows_are_whole_and_resumable(mini, ready, monkeypatch, tmp_path):
    made = []

    def unlearned(method, clip, sets, seed):
        made.append(method)
        return (clip if method == "original" else moved(clip, method, lowering(clip, ready))), 0.0

    monkeypatch.setattr(lab_audit, "unlearned", unlearned)
    monkeypatch.setattr(lab_audit, "drawn", lambda clip, kind, subgroup, seed: ready)
    given = (mini, tmp_path / "audit.csv", ("low",), (("class", "red"),), (0,))
    table = lab_audit.measure_all(*given, **QUICK)
    assert made == ["original", "low"] and set(table["method"]) == {"original", "low"}
    columns = (
        "method",
        "kind",
        "subgroup",
        "seed",
        "measure",
        "value",
        "low",
        "high",
        "n",
        "limit",
        "alarm",
        "seconds",
    )
    assert set(columns) <= set(table.columns)
    pd.testing.assert_frame_equal(lab_audit.measure_all(*given, **QUICK), pd.read_csv(given[1]))
    assert made == ["original", "low"], "what is there is not computed again"


def test_oracles_belong_to_their_class(monkeypatch):
    monkeypatch.setitem(loading.EMBEDDED, "mini-clip-without-cat", None)
    assert loading.oracle_of("cat") == "mini-clip-without-cat"
    assert loading.oracle_of("cat 1") is None and loading.oracle_of("owl") is None
    runs = lab_audit.runs(("default",), (("class", "cat"), ("class", "owl")), (0, 1))
    keys = [(run["method"], run["subgroup"], run["seed"]) for run in runs]
    assert ("mini-clip-without-cat", "cat", 0) in keys and ("original", "owl", 0) in keys
    assert ("original", "owl", 1) not in keys and ("default", "cat", 1) in keys


def test_the_command_line_reads_a_saved_folder(mini, ready, monkeypatch, tmp_path):
    from forgetkit.__main__ import forgetkit as command

    asked = []
    said = {"subgroup": ready.subgroup, "seed": 3, "previous_targets": ["black"]}
    moved(mini, "low", lowering(mini, ready)).save(tmp_path / "model", **said)
    weights = (tmp_path / "model" / saving.WEIGHTS).stat().st_mtime_ns
    monkeypatch.setattr(report, "tutorial_sets", lambda *given: asked.append(given) or ready)
    monkeypatch.setattr(report, "audit", lambda *given: audit(*given, **QUICK))
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
    assert "- offset recall: " in card and "forgotten before | black" in card
    plain = moved(mini, "plain", lowering(mini, ready))
    plain.record["source"] = {**plain.record["source"], "sha256": "0" * 64}
    plain.save(tmp_path / "stranger")
    done = CliRunner().invoke(command, ["audit", str(tmp_path / "stranger"), "--target", "red"])
    assert isinstance(done.exception, ValueError) and "SHA-256" in str(done.exception)
    mini.save(tmp_path / "unsaid")
    done = CliRunner().invoke(command, ["audit", str(tmp_path / "unsaid")])
    assert isinstance(done.exception, ValueError) and "--target" in str(done.exception)
