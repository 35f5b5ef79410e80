"""Notebooks 08 and 09 as at paper scale: an RN50 of full width at 224 pixels, all stages; weights and images random."""

import sys
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import pytest
from safetensors.torch import save_file

sys.path.append(str(Path(__file__).resolve().parents[1] / "data"))  # the folders are made as those tests make them
from image_folders import write_images
from test_imagenet import MONKEYS, OTHERS
from test_notebooks import ROOT, run_cells
from test_style_sets import generate
from test_zero_shot import food101, objectnet

# As few images and steps as go through every line of the stages; stop: a random model recognises nothing at first.
FEW = {
    "forget": dict(stop=None, steps=2, batch=4, fisher_samples=4),
    "remind": dict(align_steps=1, steps=2, batch=2, n_abstract=4),
    "restore": dict(alphas=[0.5, 1.0]),
}


@pytest.fixture(scope="module")
def rn50(tmp_path_factory):
    """Parameters; the random weights are in a file, as no lesson takes a model without any."""
    file = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file(open_clip.create_model("RN50-quickgelu").state_dict(), file)
    weights = dict(model="RN50-quickgelu", pretrained=str(file))
    return {**weights, "changes": FEW, "n_forget": 6, "n_retain": 6, "device": "cpu"}


@pytest.mark.slow
def test_notebook_08_runs_an_rn50_on_a_miniature_of_imagenet(rn50, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FORGETKIT_CACHE", str(tmp_path / "cache"))
    for part, n, names in (("train", 20, "{}.JPEG"), ("val", 2, "1{:02}.JPEG")):
        write_images(tmp_path / "imagenet" / part, dict.fromkeys((*MONKEYS, *OTHERS), n), names=names)
    for make in (food101, objectnet):
        make(tmp_path / "extra")
    folders = dict(data_dir=str(tmp_path / "imagenet"), extra_dir=str(tmp_path / "extra"), out=str(tmp_path))
    run_cells(ROOT / "notebooks/08_imagenet_rn50.ipynb", **rn50, **folders, templates="one")
    out = capsys.readouterr().out
    assert "forget 'marmoset', keep white-headed capuchin, titi monkey (family: monkey)" in out
    assert "no column cifar100: cifar-100-python was not found in" in out and "no column stl10" in out
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table["model"]) == ["original", "forget", "remind", "restore"]
    numbers = table[["target", "retain", "other", "food101", "objectnet"]]
    assert np.isfinite(numbers).all(axis=None) and (table["seconds"][1:] > 0).all()
    figures = {"sets", "curves", "members", "cover"}
    assert figures <= {f.stem for f in tmp_path.glob("*.png")}


@pytest.mark.slow
def test_notebook_09_runs_an_rn50_on_a_miniature_of_pacs(rn50, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FORGETKIT_CACHE", str(tmp_path / "cache"))
    pacs = generate(tmp_path / "PACS", "PACS")
    parameters = {**rn50, "data_dir": str(pacs), "target": "dog art_painting", "out": str(tmp_path)}
    run_cells(ROOT / "notebooks/09_styles.ipynb", **parameters)
    out = capsys.readouterr().out
    assert "forget 'dog art painting', keep dog cartoon, dog photo, dog sketch" in out
    table = pd.read_csv(tmp_path / "table.csv")
    assert np.isfinite(table[["target", "retain", "other"]]).all(axis=None)
    assert {"styles", "curves", "cover", "decisions"} <= {f.stem for f in tmp_path.glob("*.png")}
