"""The speed study on small models: every stage measured, counted, and not measured twice."""

import pandas as pd
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks import frozen, speed, tables
from benchmarks.speed import Roofline, noise_sets, stage_steps, step_memory, work
from forgetkit.models import body
from forgetkit.models.loading import load_clip

STAGES = ["plain", "Fisher", "forget", "align", "remind", "restore"]


@pytest.mark.parametrize("name", ["mini-clip", "mini-vit"])
def test_every_stage_has_its_row(name, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "machine_speeds", lambda device: (1e12, 1e11))
    out = tmp_path / "gpu.csv"
    table = speed.throughput_study([name], 4, "cpu", out)
    assert table["stage"].tolist() == STAGES
    assert (table["images_s"] > 0).all() and (table["gflop"] > 0).all() and table["device"].str.startswith("CPU").all()
    row = table.set_index("stage")
    assert row.loc["plain", "ratio"] == 1 and (table["plain_images_s"] == row.loc["plain", "images_s"]).all()
    assert row.loc["plain", "gflop"] > row.loc["align", "gflop"] > row.loc["restore", "gflop"]
    line = tables.made("throughput", tmp_path).splitlines()[2]
    assert line.startswith(f"| {name} | 4 | plain | {row.loc['plain', 'images_s']:.1f} | 1.00 |")
    monkeypatch.setattr(speed, "load_clip", lambda *_: pytest.fail("measured again"))
    assert len(speed.throughput_study([name], 4, "cpu", out)) == 6


def test_counted_operations_are_those_of_an_image():
    a = torch.randn(8, 16)

    def run(steps):
        for _ in range(steps):
            a @ torch.ones(16, 32)

    flops, moved = 2 * 8 * 16 * 32, 4 * (16 * 32 + 8 * 16 + 16 * 32 + 8 * 32)  # bytes: of the ones, of the product
    found = work(run, 8, flops_s=1.0, bytes_s=1e9)
    assert (found["flops"], found["bytes"]) == (flops / 8, moved / 8)
    assert found["seconds"] == pytest.approx(flops / 8, rel=1e-3)  # arithmetic is what is slow here
    assert work(run, 8, flops_s=1e12, bytes_s=1.0)["seconds"] == pytest.approx(moved / 8)  # and memory here


def test_views_move_nothing_and_writing_in_place_does():
    a = torch.ones(4, 6)
    with Roofline(1.0, 1.0) as counter:
        a.T[1:].reshape(5, 2, 2).unsqueeze(0)
    assert counter.bytes == 0
    with Roofline(1.0, 1.0) as counter:
        a.mul_(2)
    assert counter.bytes == 2 * 4 * 24 and counter.flops == 0
    weight = torch.ones(6, 3, requires_grad=True)
    with Roofline(1.0, 1.0) as counter:
        (a @ weight).sum().backward()
    assert counter.flops == 2 * (2 * 4 * 6 * 3)  # forward, and the weight's gradient


def test_memory_is_what_is_held_at_once():
    x = torch.rand(1000, 10, requires_grad=True)

    def run(steps):
        z = x
        for _ in range(6):
            z = z.sin()  # saves its input
        z.sum().backward()
        x.grad = None

    assert 6 * x.nbytes <= step_memory(run) <= 9 * x.nbytes
    with torch.no_grad():
        assert step_memory(lambda steps: x.sin().sin().sin().sin().sin().sin()) == 2 * x.nbytes
    assert step_memory(lambda steps: x.detach().T[1:]) == 0, "a view needs none"


def test_memory_of_every_stage_is_counted(tmp_path, monkeypatch):
    found = {n: speed.memory_study(["mini-clip"], n, "cpu", tmp_path / f"{n}.csv").set_index("stage") for n in (16, 32)}
    few, many = (table["held_gb"] for table in found.values())
    weights = sum(p.nbytes for p in load_clip("mini-clip").model.parameters())
    assert found[32]["weights_gb"].tolist() == 6 * [pytest.approx(2 * weights / 1e9, abs=0.001)]
    assert many["align"] / few["align"] == pytest.approx(2, rel=0.2), "activations of all images"
    assert many["plain"] > 3 * weights / 1e9, "gradients and AdamW's two moments"
    assert many["restore"] < many["forget"] < many["remind"], "no backward pass; four layers; all of them"
    (tmp_path / "32.csv").rename(tmp_path / "memory.csv")
    line = tables.made("memory", tmp_path).splitlines()[2]
    assert line.startswith("| mini-clip | 32 | plain |") and f"| {many['plain']:.1f} |" in line
    monkeypatch.setattr(speed, "load_clip", lambda *_: pytest.fail("counted again"))
    assert len(speed.memory_study(["mini-clip"], 16, "cpu", tmp_path / "16.csv")) == 6


def test_speed_is_that_of_the_steps_alone(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])
    noise = iter([9.0, 9.0, 9.0] + [0.0] * 9)  # other work stops the short runs of the first try, and hides the steps

    def run(steps):
        clock[0] += 3 + 0.1 * steps + (next(noise) if clock[0] else 0)

    assert speed.images_per_second(run, images=8) == pytest.approx(80)
    assert next(noise, None) is None  # twice three and twice three


def test_speeds_of_this_machine_are_measured(monkeypatch):
    monkeypatch.setattr(speed, "images_per_second", lambda run, images, *_: run(1) or float(images))
    flops_s, bytes_s = speed.machine_speeds(torch.device("cpu"))
    assert flops_s == 2 * 2048**3 and bytes_s == 2 * 4 * 2**26


def test_stages_see_as_many_images_a_step_as_they_say(mini, monkeypatch):
    seen = []
    real = speed.Clip.embed_tensor
    monkeypatch.setattr(speed.Clip, "embed_tensor", lambda clip, x: seen.append(len(x)) or real(clip, x))
    runs = stage_steps(mini, noise_sets(mini, 8), 8)
    for stage in ("forget", "remind"):
        runs[stage](1)
        assert 8 in seen, stage
        seen.clear()


def test_plain_steps_train_both_towers_and_leave_the_model_alone(mini, ready):
    before = {k: v.clone() for k, v in mini.model.state_dict().items()}
    moved = []
    hook = register_optimizer_step_post_hook(
        lambda optimizer, *_: moved.append([p for group in optimizer.param_groups for p in group["params"]])
    )
    try:
        speed.plain_steps(mini, ready, 8)(1)
    finally:
        hook.remove()
    start = dict(mini.model.named_parameters())
    assert len(moved[0]) == len(start)
    changed = [n for (n, p), q in zip(start.items(), moved[0]) if not torch.equal(p, q)]
    assert any(n.startswith("visual.") for n in changed) and any(not n.startswith("visual.") for n in changed)
    assert all(torch.equal(v, before[k]) for k, v in mini.model.state_dict().items())


def test_what_is_frozen_is_timed_both_ways_and_the_body_comes_back(vit, monkeypatch):
    blocks = body.blocks
    monkeypatch.setattr(frozen, "load_clip", lambda *_, **__: vit)
    few = {"forget": {**frozen.FEW["forget"], "k": 2}, "remind": {**frozen.FEW["remind"], "steps": 2}}
    monkeypatch.setattr(frozen, "FEW", few)
    rows = pd.DataFrame(frozen.compute("cpu", "vit", 32)).set_index("stage")
    assert [*rows.index] == ["forget", "remind", "restore", "table", "all"]
    assert (rows[["seconds", "whole"]] >= 0).all(axis=None) and rows.loc["all", "seconds"] > 0
    assert rows.loc["all", "seconds"] == pytest.approx(rows["seconds"].iloc[:-1].sum(), abs=0.05)
    assert 0 <= rows["drift"].iloc[0] < 2 and body.blocks is blocks
    with frozen.whole():
        assert body.frozen(vit.model.visual, ["proj"]) == 0
    assert body.frozen(vit.model.visual, ["proj"]) > 0
