"""Ideas for depth: each term is what its line says, and each idea is a recipe that there is."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from benchmarks import depth
from benchmarks.ablations import by_stage, exchanging
from benchmarks.attacked import attacked, deep
from forgetkit import Recipe
from forgetkit.reminding import Pool, remind


def unit(n: int, centre: int, seed: int) -> torch.Tensor:
    noise = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    return F.normalize(3 * torch.eye(6)[centre] + noise, dim=1)


SIBLINGS, KEPT, TARGET = unit(50, 0, 0), unit(20, 0, 1), unit(20, 1, 2)
POOLS = {"forget": Pool(None, TARGET, torch.ones(20, dtype=torch.long))}
GIVEN = (torch.eye(6), torch.tensor(10.0), [1])  # head, scale, the target's label


def term(make, z: torch.Tensor, kept: torch.Tensor = KEPT) -> float:
    return make()(z, POOLS, kept, *GIVEN, siblings=SIBLINGS).item()


TERMS = {"nearest siblings": lambda: depth.nearest_siblings, "gap": lambda: depth.gap, "means": lambda: depth.means}


@pytest.mark.parametrize("name", TERMS)
def test_a_term_is_smaller_among_the_siblings_and_its_gradient_leads_there(name):
    assert term(TERMS[name], SIBLINGS[:20]) < 0.5 * term(TERMS[name], TARGET)
    z = TARGET.clone().requires_grad_()
    TERMS[name]()(z, POOLS, KEPT, *GIVEN, siblings=SIBLINGS).backward()
    assert term(TERMS[name], F.normalize(z.detach() - 0.05 * z.grad / z.grad.norm(), dim=1)) < term(TERMS[name], TARGET)


def test_the_gap_is_a_distance_of_sorted_gaps_and_zero_for_equals():
    own = lambda x: (10 * (x[:, 1] - x[:, [0, 2, 3, 4, 5]].max(1).values)).sort().values
    assert term(TERMS["gap"], TARGET) == pytest.approx((own(TARGET) - own(KEPT)).abs().mean().item(), rel=1e-5)
    assert term(TERMS["gap"], KEPT) == 0


def test_the_means_are_whitened_by_the_siblings():
    assert term(TERMS["means"], SIBLINGS) == pytest.approx(0, abs=1e-6)
    along, across = SIBLINGS.var(0).argmax(), SIBLINGS.var(0).argmin()
    moved = lambda axis: SIBLINGS + 0.1 * torch.eye(6)[axis]
    assert term(TERMS["means"], moved(across)) > term(TERMS["means"], moved(along))


def test_the_probe_learns_the_sides_and_then_asks_to_be_wrong():
    probe = depth.Probe()
    ask = lambda z: probe(z, POOLS, KEPT, *GIVEN, siblings=SIBLINGS).item()
    first, *_, last = (ask(TARGET) for _ in range(20))
    assert last > first, "a probe that finds the target makes the loss of lying there larger"
    assert ask(KEPT) < last


def test_every_idea_is_a_recipe_and_adds_what_it_names(monkeypatch):
    for changes, _ in depth.IDEAS.values():
        Recipe.default(**by_stage(changes))
    monkeypatch.setattr(depth, "reminding_terms", lambda *_: {"contrastive": torch.tensor(1.0)})
    _, terms = depth.IDEAS["nearest siblings and probe"]
    found = depth.adding(terms)({"forget": TARGET, "retain": KEPT}, POOLS, *GIVEN, [1], None, SIBLINGS)
    assert len(found) == 1 + len(terms) and all(torch.isfinite(value) for value in found.values())


def test_stage_2_takes_an_idea_beside_its_own_terms(mini, ready):
    _, terms = depth.IDEAS["gap"]
    recipe = Recipe.default(remind={"mmd": 0.0, "steps": 2, "align_steps": 0, "n_noise": 4, "n_abstract": 4}).remind
    result = exchanging(terms=depth.adding(terms))(remind)(mini.copy("forget"), mini, ready, recipe)
    assert all(row["idea 0"] >= 0 and row["guard"] >= 0 for row in result.record["remind"])


def test_depth_is_asked_on_either_half_and_sees_a_target_that_is_apart(mini, colours):
    sets = colours.on(mini)
    views = depth.halves(mini, sets)
    n = len(views[0].test.z) + len(views[1].test.z)
    assert n == sum(len(sets.validation[c]) for c in ("target", "retain", "other") if c in sets.validation)
    found = attacked(views)
    assert "synonyms" not in found and 0 <= found["AUROC against all"] <= 1
    assert 0 <= found["prototype recall"] <= 100


def test_where_siblings_bear_the_name_only_the_embedding_is_asked(mini, colours):
    sets = colours.on(mini)
    named = deep(mini, mini, sets, sets.validation, sets.test)
    assert {"offset recall", "AUROC against siblings", "membership AUROC", "probe recall"} <= set(named)
    one = replace(sets, retain=replace(sets.retain, labels=torch.zeros_like(sets.retain.labels) + sets.labels[0]))
    assert one.own_labels == [] and sets.own_labels == sets.labels
    found = deep(mini, mini, one, sets.validation, sets.test)
    assert set(found) == {"20-NN recall", "prototype recall", "probe recall"}
    assert all(found[name] == named[name] for name in found)


def test_shifted_images_are_five_of_each_and_lie_where_they_should(ready):
    part = depth.shifted(ready.forget)
    n, by = len(ready.forget), ready.forget.images.shape[-1] // 16
    assert by > 0 and len(part.images) == len(part.labels) == 5 * n
    assert torch.equal(part.images[:n], ready.forget.images) and torch.equal(part.labels[-n:], ready.forget.labels)
    up_left, down_right = part.images[-n:], part.images[n : 2 * n]
    assert torch.equal(up_left[..., :-by, :-by], ready.forget.images[..., by:, by:])
    assert torch.equal(down_right[..., by:, by:], ready.forget.images[..., :-by, :-by])
