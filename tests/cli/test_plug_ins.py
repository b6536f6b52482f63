"""Spaces and encoders of other distributions in the commands, also where no model is of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from meta_toys import coloured
from plug_in_toys import entry_points

from metad2a_plugin.cli.main import main
from metad2a_plugin.plugins import registry

TINY = ["--epochs", "1", "--input-size", "8", "--device", "cpu"]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METAD2A_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(registry, "entry_points", entry_points)
    monkeypatch.chdir(tmp_path)
    images, labels = coloured()
    np.savez("images.npz", images=images, labels=labels)
    return tmp_path


def test_a_space_without_a_model_is_searched_by_a_predictor_that_needs_none(work: Path, capsys: Any) -> None:
    arguments = ["search", "images.npz", "--space", "towers", "--input-size", "8", "--top", "2", "--json", "r.json"]
    assert main(arguments) == 0
    assert "No model is shipped for the space towers: its networks are ranked by" in capsys.readouterr().err
    found = json.loads((work / "r.json").read_text())
    assert (found["space"], found["predictor"], found["model"]) == ("towers", "naswot", None)
    assert found["dataset"] == "images" and len(found["candidates"]) == 2


@pytest.mark.parametrize("encoder", ["mean-colour", "default"])
def test_a_predictor_reads_features_of_the_encoder_that_is_named(encoder: str, work: Path, capsys: Any) -> None:
    arguments = ["search", "images.npz", "--space", "towers", "--predictor", "fits", "--encoder", encoder]
    assert main([*arguments, "--top", "1", "--json", "r.json"]) == 0
    found = json.loads((work / "r.json").read_text())
    [best] = found["candidates"]
    width = 3 if encoder == "mean-colour" else 256
    assert best["score"] == pytest.approx(best["params_m"] * width, rel=0.5)
    reference = found["linear_classifier"]
    assert reference["encoder"] == encoder and 30 < reference["accuracy"] <= 100
    assert f"of the encoder {encoder} gets {reference['accuracy']:.1f}%" in " ".join(capsys.readouterr().out.split())


def test_a_model_keeps_its_encoder(work: Path, capsys: Any) -> None:
    assert main(["search", "images.npz", "--encoder", "mean-colour", "--top", "1", "--json", "r.json"]) == 0
    found = json.loads((work / "r.json").read_text())
    assert found["model"] == "nasbench201" and found["linear_classifier"]["encoder"] == "mean-colour"


def test_a_space_and_an_encoder_are_trained_with(work: Path, capsys: Any) -> None:
    arguments = ["train", "images.npz", "--space", "towers", "--encoder", "mean-colour", "--top", "1", *TINY]
    assert main([*arguments, "--json", "s.json"]) == 0
    assert "No model is shipped for the space towers" in capsys.readouterr().err
    found = json.loads((work / "s.json").read_text())
    [network] = found["networks"]
    assert network["space"] == "towers" and network["role"] == "searched"
    assert [reference["encoder"] for reference in found["references"]] == [None, "mean-colour"]
    assert main(["predict", network["network"], "images.npz"]) == 0


@pytest.mark.parametrize("command", [["search"], ["train", *TINY]])
def test_an_encoder_that_is_not_there_is_refused_before_images_are_read(command: list[str], capsys: Any) -> None:
    assert main([command[0], "nowhere", *command[1:], "--encoder", "mean-color"]) == 2
    assert "did you mean 'mean-colour'?" in capsys.readouterr().err


def test_an_encoder_is_for_a_dataset(capsys: Any) -> None:
    assert main(["search", "--predictor", "params", "--encoder", "default"]) == 2
    assert "--encoder is for a dataset; give one" in capsys.readouterr().err
