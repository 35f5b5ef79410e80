"""The speed study on small models: every stage measured, counted, and not measured twice."""

import pytest
import torch

from forgetkit import throughput
from forgetkit.throughput import flops, noise_sets, stage_steps


@pytest.mark.parametrize("name", ["mini-clip", "mini-vit"])
def test_every_stage_has_its_row(name, tmp_path, monkeypatch):
    monkeypatch.setattr(throughput, "matmul_speed", lambda device: 1e12)
    out = tmp_path / "gpu.csv"
    table = throughput.throughput([name], 4, "cpu", out)
    assert table["stage"].tolist() == ["plain", "Fisher", "forget", "align", "remind", "restore"]
    assert (table["images_s"] > 0).all() and (table["gflop"] > 0).all() and table["device"].str.startswith("CPU").all()
    row = table.set_index("stage")
    assert row.loc["plain", "ratio"] == 1 and (table["plain_images_s"] == row.loc["plain", "images_s"]).all()
    assert row.loc["plain", "gflop"] > row.loc["align", "gflop"] > row.loc["restore", "gflop"]
    monkeypatch.setattr(throughput, "load_clip", lambda *_: pytest.fail("measured again"))
    assert len(throughput.throughput([name], 4, "cpu", out)) == 6


def test_counted_operations_are_those_of_an_image():
    a = torch.randn(8, 16)

    def run(steps):
        for _ in range(steps):
            a @ torch.randn(16, 32)

    assert flops(run, images=8) == 2 * 16 * 32
    assert throughput.matmul_speed(torch.device("cpu")) > 1e8


def test_stages_see_as_many_images_a_step_as_they_say(mini, monkeypatch):
    seen = []
    real = throughput.Clip.embed_tensor
    monkeypatch.setattr(throughput.Clip, "embed_tensor", lambda clip, x: seen.append(len(x)) or real(clip, x))
    runs = stage_steps(mini, noise_sets(8, 64), 8)
    for stage in ("forget", "remind"):
        runs[stage](1)
        assert seen[-1] == 8, stage
