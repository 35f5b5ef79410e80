"""Every term of every loss, and every set of every stage: which images, which teacher, which labels, sign and weight.

By hand, on tensors of a few numbers: an error of one name in the method fails here.
"""

import dataclasses
from collections import Counter
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from forgetkit import (
    Recipe,
    accuracies,
    evaluate,
    fisher,
    forget,
    forgetting,
    losses,
    remind,
    reminding,
    restoring,
    score,
)
from forgetkit.alignment import Aligned, alignment_losses, remembered
from forgetkit.lora import LoRA, adaptable
from forgetkit.models.clip import Inputs, ModelError, batch_norms
from forgetkit.models.prefix import n_frozen
from forgetkit.recipe import Forget, Remind
from forgetkit.subgroups import ModelSets
from forgetkit.synthetic import abstract_images, crops
from forgetkit.training import SLOWER, Drift, Monitor, Pool, Trainer, Verdict, rate_for

HEAD = torch.eye(4, 5)  # four classes in five dimensions: the fifth belongs to none
SCALE = torch.tensor(2.0)


def unit(*rows) -> torch.Tensor:
    return F.normalize(torch.tensor(rows, dtype=torch.float), dim=1)


def kl(teacher: torch.Tensor, student: torch.Tensor, classes: list[int]) -> float:
    """KL(teacher || student) of the probabilities over these classes alone, the mean over images."""
    t, s = (F.softmax(SCALE * z @ HEAD[classes].T, 1) for z in (teacher, student))
    return (t * (t / s).log()).sum(1).mean().item()


# --------------------------------------------------------------------------------------------------
# Losses


def test_hinge_is_own_logit_less_the_best_other_plus_the_margin():
    z = unit([3.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 2.0, 1.0])
    first = SCALE * (z[0, 1] - z[0, 0]) + 1.0  # label 1 stands below class 0
    second = SCALE * (z[1, 3] - z[1, 2]) + 1.0
    found = losses.hinge(z, torch.tensor([1, 3]), HEAD, SCALE, 1.0)
    assert found.item() == pytest.approx((first.clamp(min=0) + second.clamp(min=0)).item() / 2)


@pytest.mark.parametrize("without, never", [([], []), ([1], []), ([0], [2]), ([2], [0]), ([0, 3], [1])])
def test_class_distillation_leaves_out_some_texts_and_gives_no_share_to_others(without, never):
    student, teacher = unit([2, 1, 0, 1, 1], [0, 1, 3, 1, 0]), unit([1, 2, 1, 0, 1], [1, 0, 1, 2, 2])
    left = [c for c in range(4) if c not in without]
    share = [c for c in left if c not in never]
    p = F.softmax(SCALE * student @ HEAD[left].T, 1)[:, [left.index(c) for c in share]]
    t = F.softmax(SCALE * teacher @ HEAD[share].T, 1)
    found = losses.class_distillation(student, teacher, HEAD, SCALE, without, never)
    assert found.item() == pytest.approx((t * (t / p).log()).sum(1).mean().item(), rel=1e-5)


def test_feature_distillation_projects_student_and_teacher_alike():
    student, teacher, gone = unit([3, 1, 0, 0, 1]), unit([1, 2, 1, 0, 0]), HEAD[:1]
    a, b = student[0].clone(), teacher[0].clone()
    a[0] = b[0] = 0
    wanted = 1 - (a @ b / a.norm() / b.norm()).item()
    assert losses.feature_distillation(student, teacher, gone).item() == pytest.approx(wanted, rel=1e-5)
    assert losses.feature_distillation(student, teacher).item() == pytest.approx(1 - (student @ teacher.T).item())


# --------------------------------------------------------------------------------------------------
# Adapters and alignment


def test_an_adapter_adds_alpha_over_r_times_b_a():
    adapter = LoRA(torch.zeros(3, 4), rank=2, lora_alpha=6.0)
    with torch.no_grad():
        adapter.a.copy_(torch.arange(8.0).view(2, 4))
        adapter.b.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    assert torch.equal(adapter(torch.ones(3, 4)), 1 + 3 * adapter.b @ adapter.a)


def test_alignment_is_a_norm_of_means_and_one_of_standard_deviations(resnet):
    goal = {"bn": (torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))}
    seen = {"bn": (torch.tensor([4.0, 6.0]), torch.tensor([3.0, 5.0]))}
    assert alignment_losses(seen, goal)["bn"].item() == pytest.approx(5.0 + 1.0)
    bn = batch_norms(resnet.model)["bn1"]
    mean, std = remembered(resnet)["bn1"]
    assert torch.equal(mean, bn.running_mean) and torch.equal(std, (bn.running_var + bn.eps).sqrt())


# --------------------------------------------------------------------------------------------------
# Stage 1


def test_relative_fisher_divides_what_d_f_gives_by_what_d_r_gives(resnet):
    asked = {}

    def squares(tower, images, text, names):
        asked[len(images)] = text
        return torch.full((len(images), len(names)), float(len(images)))

    d_f, d_r = (Inputs(torch.zeros(n, 3, 64, 64), torch.arange(n), ("a",), ()) for n in (3, 2))
    head = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    table = fisher.relative_fisher(resnet, d_f, d_r, head, ["conv1.weight"], squares)
    assert table.iloc[0][["forget", "retain", "ratio"]].tolist() == [3.0, 2.0, 1.5]
    assert torch.equal(asked[3], head[:3]) and torch.equal(asked[2], head[:2]), "each image with its own label's text"


def test_layers_are_chosen_on_d_f_over_d_r(resnet, colours, monkeypatch):
    sets, asked = colours.on(resnet), []
    monkeypatch.setattr(
        fisher, "relative_fisher", lambda *given: asked.append(given) or pd.DataFrame({"layer": ["x"], "ratio": [1.0]})
    )
    fisher.choose_layers(resnet, sets, Forget(k=1, fisher_samples=5))
    ((_, d_f, d_r, head, names),) = asked
    allowed = adaptable(resnet.model.visual, 0.35)
    assert len(d_f) == len(d_r) == 5 and torch.equal(head, sets.head) and names == allowed
    assert torch.equal(d_f.labels, sets.forget.labels[:5]) and torch.equal(d_r.labels, sets.retain.labels[:5])
    whole = resnet.features(sets.forget.images[:5], n_frozen(resnet.model.visual, allowed), mixed=False)
    torch.testing.assert_close(d_f.images.values, whole.values)


class Seen(Exception):
    """What a stage handed to the loop."""


def handed_over(monkeypatch, module, stage, *args, **pieces) -> SimpleNamespace:
    """The trainer, pools, terms and settings of a stage, which ends where its training would begin."""
    found = SimpleNamespace()

    def run(self, pools, terms, generator, **settings):
        vars(found).update(trainer=self, pools=pools, terms=terms, settings=settings)
        raise Seen

    monkeypatch.setattr(module.Trainer, "run", run)
    with pytest.raises(Seen):
        stage(*args, **pieces)
    return found


@pytest.mark.parametrize("loss", ["similarity", "hinge"])
def test_stage_one_minimises_its_loss_on_d_f(resnet, colours, monkeypatch, loss):
    sets = colours.on(resnet)
    recipe = Forget(k=1, fisher_samples=2, loss=loss, margin=3.0, batch=7, steps=9)
    found = handed_over(monkeypatch, forgetting, forget, resnet, sets, recipe)
    (pool,) = found.pools.values()
    layers = found.trainer.student.record["layers"]
    assert torch.equal(pool.labels, sets.forget.labels)
    torch.testing.assert_close(pool.images.values, resnet.prefix_features(sets.forget, layers).images.values)
    z, labels = unit([1.0] + [0.5] * 15, [-1.0] + [0.0] * 15), torch.tensor([0, 3])
    value = found.terms({"forget": z}, {"forget": Pool(None, labels)})["loss"]
    hand = (z * sets.head[labels]).sum(1).mean()
    wanted = hand if loss == "similarity" else losses.hinge(z, labels, sets.head, resnet.scale, 3.0)
    assert value.item() == pytest.approx(wanted.item(), rel=1e-5) and value != 0
    assert (found.settings["steps"], found.settings["batch"]) == (9, 7)
    rule = found.settings["rule"]
    assert torch.equal(rule.watched["target"].labels, sets.forget.labels)
    assert torch.equal(rule.watched["retain"].labels, sets.retain.labels)


def test_stage_one_ends_where_d_f_is_gone_and_goes_back_where_siblings_are(monkeypatch):
    known = iter([(90.0, 80.0), (5.0, 50.0), (0.9, 39.0), (1.0, 40.0)])
    monkeypatch.setattr(forgetting, "recognised", lambda clip, part, head: part.pop(0))
    d_f, d_r = map(list, zip(*known))
    rule = forgetting.StoppingRule(None, d_f, d_r, HEAD, Forget(stop=1.0, min_retain=50.0))
    first, second, third, fourth = (rule() for _ in range(4))
    assert first == Verdict({"target": 90.0, "retain": 80.0}) and not second.done and second.harm is None
    assert third.done and third.harm == "39 % of the siblings are still recognised, of 80 at first"
    assert fourth.done and fourth.harm is None, "40 is half of the first 80, whatever was seen since"


# --------------------------------------------------------------------------------------------------
# Stage 2: pools


def plus_one(clip, x, steps, bound=0.5):
    """Stands for `align`: the images are another's, and say how many steps were asked for."""
    return Aligned(x + steps, pd.DataFrame({"layer": ["bn1"]}), [])


@pytest.fixture
def stage_two(resnet, colours):
    """The original, a stage 1 that is another model, its sets, with images of an earlier target."""
    sets = dataclasses.replace(colours.on(resnet), previous=colours.on(resnet).calibration["other"])
    stage1 = resnet.copy("forget", layers=adaptable(resnet.model.visual)[-2:])
    with torch.no_grad():
        stage1.model.visual.attnpool.c_proj.weight.mul_(-1)
    return resnet, stage1, sets


def test_every_pool_has_its_images_its_labels_and_the_originals_embeddings(stage_two):
    original, _, sets = stage_two
    recipe, generator = Remind(n_abstract=4), torch.Generator().manual_seed(0)
    cropped = [[crops(part.images, generator) for _ in range(2)] for part in (sets.retain, sets.forget, sets.previous)]
    pools, record = reminding.make_pools(original, sets, recipe, torch.Generator().manual_seed(0), plus_one)
    views = lambda part, cropped: torch.cat([part.images, torch.flip(part.images, dims=[3]), *cropped])
    parts = {"retain": sets.retain, "forget": sets.forget, "previous": sets.previous}
    images = {name: views(part, some) for (name, part), some in zip(parts.items(), cropped)}
    assert {*pools} == {*images, "classless"} and record == {}
    for name, wanted in images.items():
        assert torch.equal(pools[name].images, wanted), name
        torch.testing.assert_close(pools[name].teacher, original.embed(wanted))
    for name, part in (("retain", sets.retain), ("forget", sets.forget), ("previous", sets.previous)):
        assert torch.equal(pools[name].labels, part.labels.repeat(4)), name
    classless = pools["classless"]
    assert len(classless.images) == 4 and classless.labels is None
    torch.testing.assert_close(classless.teacher, original.embed(classless.images))


@pytest.mark.parametrize(
    "changes, wanted",
    [
        ({"guard": 0.0}, {"retain", "forget", "classless"}),
        ({"guard": 0.0, "mmd": 0.0}, {"retain", "classless"}),
        ({"n_abstract": 0}, {"retain", "forget", "previous"}),
    ],
)
def test_a_pool_that_no_term_reads_is_not_made(stage_two, changes, wanted):
    original, _, sets = stage_two
    recipe = Remind(**{"align_steps": 1, "n_abstract": 2, **changes})
    pools, _ = reminding.make_pools(original, sets, recipe, torch.Generator().manual_seed(0), plus_one)
    assert {*pools} == wanted


def test_aligned_retain_images_stand_in_place_of_the_raw_ones(stage_two):
    original, _, sets = stage_two
    recipe = Remind(align_steps=2, n_abstract=0)
    pools, record = reminding.make_pools(original, sets, recipe, torch.Generator().manual_seed(0), plus_one)
    assert torch.equal(pools["retain"].images, sets.retain.images + 2) and record["align"] == [{"layer": "bn1"}]
    assert torch.equal(pools["retain"].labels, sets.retain.labels)
    torch.testing.assert_close(pools["retain"].teacher, original.embed(sets.retain.images + 2))
    none = reminding.make_pools(original, sets, dataclasses.replace(recipe, align_steps=0), torch.Generator())[0]
    assert torch.equal(none["retain"].images[: len(sets.retain)], sets.retain.images)


def test_stage_two_starts_from_stage_one_and_is_held_to_the_original(stage_two, monkeypatch):
    original, stage1, sets = stage_two
    recipe, asked = Remind(n_abstract=2, trainable_fraction=None, batch=5, steps=8), []
    terms = lambda *given: asked.append(given) or {"loss": torch.zeros(())}
    found = handed_over(monkeypatch, reminding, remind, stage1, original, sets, recipe, align=plus_one, terms=terms)
    student = found.trainer.student.model.visual
    assert torch.equal(
        student.attnpool.c_proj.parametrizations.weight.original, stage1.model.visual.attnpool.c_proj.weight
    )
    prefix = n_frozen(original.model.visual, stage1.record["layers"])
    generator = torch.Generator().manual_seed(recipe.seed + 1)
    cropped = [crops(sets.retain.images, generator) for _ in range(2)]
    raw = torch.cat([sets.retain.images, sets.retain.images.flip(-1), *cropped])
    teacher = original.embed(original.features(raw, prefix))
    assert not torch.allclose(teacher, stage1.embed(raw), atol=0.1), "or the rest says nothing"
    torch.testing.assert_close(found.pools["retain"].teacher, teacher)
    found.terms({}, {})
    (_, _, of, scale, own_recipe, siblings) = asked[0]
    assert of is sets and own_recipe is recipe and scale == original.scale
    assert len(siblings) == min(len(teacher), reminding.SIBLINGS)
    near = torch.cdist(siblings, teacher).min(1).values
    assert near.max() < 1e-3, "among retain images, as the original sees them"
    assert found.settings["decay"] == recipe.ema_decay and found.settings["last_rate"] == reminding.LAST_RATE == 0.1
    assert (found.settings["steps"], found.settings["batch"]) == (8, 5)
    torch.testing.assert_close(found.trainer.monitor.teacher, original.embed(found.trainer.monitor.images))


# --------------------------------------------------------------------------------------------------
# Stage 2: terms


def drawn_and_seen():
    """A batch of each pool, with teachers and students that differ everywhere."""
    generator = torch.Generator().manual_seed(1)
    make = lambda: F.normalize(torch.randn(3, 5, generator=generator), dim=1)
    labels = {"retain": [1, 2, 3], "forget": [0, 0, 0], "previous": [2, 2, 2], "classless": None}
    drawn = {n: Pool(None, None if of is None else torch.tensor(of), make()) for n, of in labels.items()}
    return drawn, {name: make() for name in drawn}, make()


def terms_of(recipe: Remind, own=(0,), target=(0,), never=(2,)):
    drawn, z, siblings = drawn_and_seen()
    sets = SimpleNamespace(head=HEAD, labels=[*target], own_labels=[*own], never=(*never,), bias=None)
    found = reminding.reminding_terms({n: z[n] for n in drawn}, drawn, sets, SCALE, recipe, siblings)
    return {name: term.item() for name, term in found.items()}, drawn, z, siblings


def close(found: float, wanted) -> bool:
    return found == pytest.approx(float(wanted), rel=1e-4, abs=1e-6)


WEIGHTS = Remind(distill=2.0, feature=5.0, guard=3.0, margin=1.5, mmd=11.0)


def test_each_term_of_stage_two_by_hand():
    found, drawn, z, siblings = terms_of(WEIGHTS, never=())
    teacher = {name: pool.teacher for name, pool in drawn.items()}
    rest = [1, 2, 3]  # the target's text, class 0, is removed from teacher and student
    own = torch.tensor([1, 2, 3])
    assert close(found["contrastive"], F.cross_entropy(SCALE * z["retain"] @ HEAD.T, own)), "raw images, own labels"
    assert close(found["distill"], 2 * kl(teacher["retain"], z["retain"], rest))
    guard = losses.hinge(z["forget"], drawn["forget"].labels, HEAD, SCALE, 1.5)
    assert close(found["guard"], 3 * guard) and guard > 0
    assert close(found["distill_forget"], 2 * kl(teacher["forget"], z["forget"], rest)), "what else is it?"
    assert close(found["mmd"], 11 * losses.mmd(z["forget"], siblings))
    held = [torch.cat([of[name] for name in ("retain", "classless")])[:, 1:] for of in (z, teacher)]
    assert close(found["feature"], 5 * (1 - F.cosine_similarity(*held)).mean()), "outside the freed text"
    stay = losses.hinge(z["previous"], drawn["previous"].labels, HEAD, SCALE, 1.5)
    t = F.softmax(SCALE * teacher["previous"] @ HEAD[rest].T, 1)
    s = F.softmax(SCALE * z["previous"] @ HEAD.T, 1)[:, rest]  # what the student gives to the freed text costs it
    assert close(found["stay"], 3 * stay + 2 * (t * (t / s).log()).sum(1).mean())
    assert {*found} == {"contrastive", "distill", "guard", "distill_forget", "mmd", "feature", "stay"}


def test_with_siblings_under_the_targets_name_no_text_is_given_up_and_nothing_is_lost_among_them():
    found, drawn, z, _ = terms_of(WEIGHTS, own=(), never=())
    assert "mmd" not in found
    assert close(found["distill"], 2 * kl(drawn["retain"].teacher, z["retain"], [0, 1, 2, 3]))
    assert close(found["distill_forget"], 2 * kl(drawn["forget"].teacher, z["forget"], [1, 2, 3])), "D_f's label goes"


def test_without_a_guard_the_teacher_names_the_target():
    found, drawn, z, _ = terms_of(dataclasses.replace(WEIGHTS, guard=0.0), never=())
    assert close(found["distill"], 2 * kl(drawn["retain"].teacher, z["retain"], [0, 1, 2, 3]))
    assert found["guard"] == 0 and "distill_forget" not in found


def test_no_image_is_given_an_earlier_targets_name():
    found, drawn, z, _ = terms_of(WEIGHTS, never=(2,))
    t = F.softmax(SCALE * drawn["retain"].teacher @ HEAD[[1, 3]].T, 1)
    s = F.softmax(SCALE * z["retain"] @ HEAD[1:].T, 1)[:, [0, 2]]
    assert close(found["distill"], 2 * (t * (t / s).log()).sum(1).mean())


# --------------------------------------------------------------------------------------------------
# The loop


class Student:
    """As much of a model as the loop needs: embeddings are x W, normalised."""

    device, name = torch.device("cpu"), "student"

    def __init__(self, weight: torch.Tensor):
        self.weight, self.record = torch.nn.Parameter(weight.clone()), {}

    def embed_tensor(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(x @ self.weight, dim=1)

    def embed(self, x: torch.Tensor, **_) -> torch.Tensor:
        return self.embed_tensor(x).detach()


IMAGES = torch.eye(4)


def loop(drift=None, **settings):
    """The weight after each step, the rates, and the trainer; one pool, whose loss pulls all images to one side."""
    student = Student(torch.eye(4))
    monitor = Monitor(IMAGES, student.embed(IMAGES), torch.arange(4), HEAD[:, :4])
    trainer = Trainer("loop", student, [student.weight], monitor, rate=0.1, drift=drift)
    steps, rates = [], []

    def after():
        steps.append(student.weight.detach().clone())
        rates.append(trainer.optimizer.param_groups[0]["lr"])

    terms = lambda z, drawn: {"one": z["x"][:, 0].sum(), "two": -z["x"][:, 1].sum()}
    usual = dict(steps=4, batch=4, eval_every=2, after=after)
    trainer.run({"x": Pool(IMAGES)}, terms, torch.Generator().manual_seed(0), **{**usual, **settings})
    return steps, rates, trainer


def test_a_loss_that_is_no_number_ends_the_training_unless_the_drift_does():
    student = Student(torch.eye(4))
    trainer = Trainer("loop", student, [student.weight], rate=0.1)
    lost = lambda z, drawn: {"one": z["x"].sum(), "two": z["x"].sum() * torch.nan}
    with pytest.raises(ModelError, match=r"loop, step 2: the loss is no finite number \(.*two"):
        trainer.run({"x": Pool(IMAGES)}, lost, torch.Generator().manual_seed(0), steps=4, batch=4, eval_every=2)


def test_the_rate_falls_linearly_to_its_last_share():
    assert loop(last_rate=0.2)[1] == pytest.approx([0.1 * share for share in (1.0, 0.8, 0.6, 0.4)])
    assert loop()[1] == pytest.approx([0.1] * 4)


def test_what_is_handed_on_is_the_average_over_steps():
    steps, _, trainer = loop(decay=0.5)
    average = torch.eye(4)
    for weight in steps:
        average = 0.5 * average + 0.5 * weight
    torch.testing.assert_close(trainer.weights[0].detach(), average)
    steps, _, trainer = loop()
    torch.testing.assert_close(trainer.weights[0].detach(), steps[-1])


def test_the_loss_is_the_sum_of_its_terms_and_falls():
    _, _, trainer = loop(steps=3)
    assert [row["step"] for row in trainer.history] == [1, 2, 3]
    assert trainer.student.record["loop"][0] == {"step": 1.0, "one": 1.0, "two": -1.0}
    sums = [float(row["one"] + row["two"]) for row in trainer.history]
    assert sums == sorted(sums, reverse=True) and sums[-1] < sums[0]


def test_past_the_drift_weights_and_average_go_back_and_the_rate_is_quartered():
    checks, seen = [], []

    def rule():
        checks.append(trainer_of["student"].weight.detach().clone())
        return Verdict({"n": len(checks)}, "harm" if len(checks) == 2 else None)

    trainer_of = {}
    real = Trainer.__init__

    def remembered_init(self, name, student, *rest, **named):
        trainer_of["student"] = student
        real(self, name, student, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "__init__", remembered_init)
        steps, rates, trainer = loop(rule=rule, decay=0.9, steps=4, eval_every=2)
    assert rates == pytest.approx([0.1, 0.1, 0.1 / SLOWER, 0.1 / SLOWER]) and SLOWER == 4
    assert trainer.student.record["pace"]["loop"] == {"rate": 0.1, "rollbacks": 1}
    torch.testing.assert_close((steps[2] - torch.eye(4)).abs().max(), torch.tensor(0.1 / SLOWER)), "from the start anew"
    average = torch.eye(4)
    for weight in steps[2:]:  # the average was taken back, too
        average = 0.9 * average + 0.1 * weight
    torch.testing.assert_close(trainer.weights[0].detach(), average)
    assert not seen


def test_a_drift_within_the_limit_goes_on_and_one_past_it_is_rolled_back():
    """The first step, of rate 0.1, drifts by .007; two of a quarter of it by less than .002."""
    assert loop(drift=0.5, eval_every=1)[2].rollbacks == 0
    steps, rates, trainer = loop(drift=0.003, eval_every=1, steps=3)
    assert trainer.rollbacks == 1 and rates == pytest.approx([0.1, 0.025, 0.025])
    assert trainer.monitor.measure(trainer.student).drift <= 0.003


def test_the_drift_that_is_too_far_is_given_or_twice_what_there_was():
    student = Student(torch.eye(4))
    turned = student.embed(IMAGES) @ torch.tensor([[0.8, 0.6, 0, 0], [-0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    monitor = Monitor(IMAGES, turned, torch.tensor([0, 1, 3, 3]), HEAD[:, :4])
    assert monitor.measure(student) == pytest.approx(Drift((0.2 + 0.2 + 0 + 0) / 4, 75.0), abs=1e-6)
    assert Trainer("loop", student, [student.weight], monitor, rate=1.0, drift=0.05).limit == pytest.approx(0.2)
    assert Trainer("loop", student, [student.weight], monitor, rate=1.0, drift=0.5).limit == 0.5
    assert Trainer("loop", student, [student.weight], monitor, rate=1.0).limit is None


def test_kept_images_are_those_of_d_m_but_the_targets(resnet, colours):
    sets = colours.on(resnet)
    monitor, target = Monitor.of(resnet, sets), int(sets.forget.labels[0])
    assert target not in monitor.labels and set(monitor.labels.tolist()) == {0, 1, 2, 3} - {target}
    assert len(monitor.labels) == sum(len(part) for name, part in sets.calibration.items() if name != "target")
    torch.testing.assert_close(monitor.teacher, resnet.embed(monitor.images))


def test_the_rate_is_that_of_a_step_in_a_random_direction():
    """W = 1 and a step of +-r for each weight: an image, a row of W, moves by about r sqrt(3), all of it sideways."""
    student = Student(torch.eye(4))
    rate = rate_for(0.01, student, [student.weight], IMAGES)
    assert rate == pytest.approx(0.01 / 3**0.5, rel=0.05)


# --------------------------------------------------------------------------------------------------
# Stage 3, and the table


def test_stage_three_asks_d_m_for_the_best_score(resnet, colours, monkeypatch):
    sets, asked = colours.on(resnet), []

    def path(unlearned, original, columns, alphas, head):
        asked.append((unlearned.name, original.name, {name: len(part) for name, part in columns.items()}, alphas))
        return pd.DataFrame({"alpha": alphas, "score": [1.0, 2.0, 9.0, 5.0]})

    monkeypatch.setattr(restoring, "path", path)
    recipe = Recipe.default(restore={"alphas": (0.0, 0.5, 0.8, 1.0)}).restore
    unlearned = resnet.copy("remind", stage="remind")
    with torch.no_grad():
        unlearned.model.visual.conv1.weight.add_(1.0)
    restored = restoring.restore(unlearned, resnet, sets, recipe)
    sizes = {name: len(part) for name, part in sets.calibration.items()}
    assert asked == [("remind", resnet.name, sizes, recipe.alphas)] and restored.record["alpha"] == 0.8
    ends = (clip.model.visual.conv1.weight for clip in (unlearned, resnet))
    torch.testing.assert_close(restored.model.visual.conv1.weight, sum(a * w for a, w in zip((0.8, 0.2), ends)))


def test_all_models_are_asked_by_the_first_ones_texts(mini, colours):
    """The text tower is no part of what is unlearned: a model whose texts were changed is not measured by them."""
    other, columns = mini.copy("other"), {name: colours.test[name] for name in ("target", "retain")}
    with torch.no_grad():
        other.model.text_projection.mul_(-1)
    alone, turned = (accuracies(clip, columns) for clip in (mini, other))
    assert alone != turned, "or the rest says nothing"
    table = evaluate([mini, other], columns)
    assert [table.loc[row, [*columns]].to_dict() for row in (0, 1)] == [alone, alone]


def test_the_score_counts_what_is_gone_of_the_targets_and_what_is_left_of_the_rest():
    before = {"target": 80.0, "retain": 90.0, "other": 50.0, "previous_targets": 0.0}
    found = {"target": 20.0, "retain": 45.0, "other": 60.0, "previous_targets": 10.0}
    assert score(found, before) == pytest.approx(100 * (0.75 + 0.5 + 1.0 + 0.9) / 4)


# --------------------------------------------------------------------------------------------------
# Sets, and images of no class


def test_a_name_can_be_given_up_where_no_sibling_bears_it():
    bears = lambda labels: Inputs(torch.zeros(len(labels), 1), torch.tensor(labels), ("a", "b", "c"), ())
    rest = dict(subgroup=None, validation={}, test={}, calibration={}, head=HEAD)
    sets = ModelSets(forget=bears([2, 0, 0]), retain=bears([1, 2]), **rest)
    assert sets.labels == [0, 2] and sets.own_labels == [0]


def test_a_crop_is_60_to_100_percent_of_an_image_inside_of_it_mirrored_or_not():
    """Of images whose two channels are the place of a pixel, -1 to 1: a crop tells from where it is."""
    place = (2 * torch.arange(20) + 1) / 20 - 1
    x = torch.stack([place.expand(20, 20), place[:, None].expand(20, 20)]).repeat(60, 1, 1, 1)
    cropped = crops(x, torch.Generator().manual_seed(0))
    right, down = cropped[:, 0, 10, 1:-1], cropped[:, 1, 1:-1, 10]
    slopes = [(line[:, -1] - line[:, 0]) / (place[-2] - place[1]) for line in (right, down)]
    torch.testing.assert_close(slopes[0].abs(), slopes[1], atol=1e-4, rtol=0)
    area = slopes[1].square()
    assert 0.59 < area.min() < 0.7 and 0.9 < area.max() <= 1.001
    assert 15 < (slopes[0] < 0).sum() < 45, "about half are mirrored"
    assert cropped.abs().max() <= 1 and cropped.mean((2, 3)).std(0).min() > 0.05, "inside, and not always the middle"


def test_abstractions_are_inverted_drawn_by_their_edges_grey_blended_and_moved(mini):
    """Of plain red images: cyan, white (there is no edge), grey, and red; and black strokes on white."""
    red = torch.tensor([0.9, 0.3, 0.3]).view(1, 3, 1, 1).expand(4, 3, 64, 64)
    low, high = mini.pixel_range()
    images = abstract_images(mini, low + (high - low) * red, 14, torch.Generator().manual_seed(0))
    found = Counter(tuple(round(v, 2) for v in pixel.mean((1, 2)).tolist()) for pixel in mini.to_pixels(images))
    for colour, times in (((0.1, 0.7, 0.7), 2), ((0.5, 0.5, 0.5), 2), ((0.9, 0.3, 0.3), 6), ((1.0, 1.0, 1.0), 2)):
        assert found.pop(colour) == times
    assert found.total() == 2 and all(0.5 < r == g == b < 1 for r, g, b in found), "strokes"
