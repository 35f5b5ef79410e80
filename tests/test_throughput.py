"""The speed study on small models: every stage measured, counted, and not measured twice."""

import pytest
import torch

from forgetkit.lab import tables as report, speed as throughput
from forgetkit.models.loading import load_clip
from forgetkit.lab.speed import Held, Roofline, held, noise_sets, stage_steps, work


@pytest.mark.parametrize("name", ["mini-clip", "mini-vit"])
def test_every_stage_has_its_row(name, tmp_path, monkeypatch):
    monkeypatch.setattr(throughput, "matmul_speed", lambda device: 1e12)
    monkeypatch.setattr(throughput, "memory_speed", lambda device: 1e11)
    out = tmp_path / "gpu.csv"
    table = throughput.throughput([name], 4, "cpu", out)
    assert table["stage"].tolist() == ["plain", "Fisher", "forget", "align", "remind", "restore"]
    assert (table["images_s"] > 0).all() and (table["gflop"] > 0).all() and table["device"].str.startswith("CPU").all()
    row = table.set_index("stage")
    assert row.loc["plain", "ratio"] == 1 and (table["plain_images_s"] == row.loc["plain", "images_s"]).all()
    assert row.loc["plain", "gflop"] > row.loc["align", "gflop"] > row.loc["restore", "gflop"]
    line = report.throughput(tmp_path).splitlines()[2]
    assert line.startswith(f"| {name} | 4 | plain | {row.loc['plain', 'images_s']:.1f} | 1.00 |")
    monkeypatch.setattr(throughput, "load_clip", lambda *_: pytest.fail("measured again"))
    assert len(throughput.throughput([name], 4, "cpu", out)) == 6


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


def test_memory_is_what_is_alive_at_once():
    weight = torch.ones(100, 100, requires_grad=True)
    size = weight.nbytes
    with Held() as counter:
        for _ in range(5):
            weight.detach() + 1  # alive only until the next one is there
        assert counter.now == 0 and counter.peak == size
        kept = weight @ weight
        kept.T.flatten()[1:], kept.detach().mul_(2)  # a copy; and writing in place needs no more
        assert counter.now == size and counter.peak == 2 * size
    del kept
    assert counter.now == 0


def test_a_backward_pass_holds_what_each_layer_saved():
    x = torch.rand(1000, 10, requires_grad=True)

    def run(steps):
        for _ in range(steps):
            z = x
            for _ in range(6):
                z = z.sin()  # saves its input
            z.sum().backward()
            x.grad = None

    assert 6 * x.nbytes <= held(run) <= 9 * x.nbytes
    with torch.no_grad():
        assert held(lambda steps: x.sin().sin().sin().sin().sin().sin()) == 2 * x.nbytes


def test_memory_of_every_stage_is_counted(tmp_path, monkeypatch):
    tables = {n: throughput.memory(["mini-clip"], n, "cpu", tmp_path / f"{n}.csv").set_index("stage") for n in (32, 64)}
    few, many = (table["held_gb"] for table in tables.values())
    weights = sum(p.nbytes for p in load_clip("mini-clip").model.parameters())
    assert tables[64]["weights_gb"].tolist() == 6 * [pytest.approx(2 * weights / 1e9, abs=0.001)]
    assert many["align"] / few["align"] == pytest.approx(2, rel=0.2), "activations of all images"
    assert many["plain"] > 3 * weights / 1e9, "gradients and AdamW's two moments"
    assert many["restore"] < many["forget"] < many["remind"], "no backward pass; four layers; all of them"
    (tmp_path / "64.csv").rename(tmp_path / "memory.csv")
    line = report.memory(tmp_path).splitlines()[2]
    assert line.startswith("| mini-clip | 64 | plain |") and f"| {many['plain']:.1f} |" in line
    monkeypatch.setattr(throughput, "load_clip", lambda *_: pytest.fail("counted again"))
    assert len(throughput.memory(["mini-clip"], 32, "cpu", tmp_path / "32.csv")) == 6


def test_speed_is_that_of_the_steps_alone(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: clock[0])
    noise = iter([9.0, 9.0, 9.0] + [0.0] * 9)  # other work stops the short runs of the first try, and hides the steps

    def run(steps):
        clock[0] += 3 + 0.1 * steps + (next(noise) if clock[0] else 0)

    assert throughput.images_per_second(run, images=8) == pytest.approx(80)
    assert next(noise, None) is None  # twice three and twice three


def test_speeds_of_this_machine_are_measured():
    cpu = torch.device("cpu")
    assert throughput.matmul_speed(cpu) > 1e8 and throughput.memory_speed(cpu) > 1e8


def test_stages_see_as_many_images_a_step_as_they_say(mini, monkeypatch):
    seen = []
    real = throughput.Clip.embed_tensor
    monkeypatch.setattr(throughput.Clip, "embed_tensor", lambda clip, x: seen.append(len(x)) or real(clip, x))
    runs = stage_steps(mini, noise_sets(8, 64), 8)
    for stage in ("forget", "remind"):
        runs[stage](1)
        assert seen[-1] == 8, stage
