"""What goes where: JSON, tables, notes, help; and how often a command looks at its images."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import typer
from meta_toys import coloured
from similarity_toys import build

from metad2a_plugin.candidates.find import Effort
from metad2a_plugin.cli import search as search_commands
from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.main import main
from metad2a_plugin.data import ImageDataset, dataset, load_dataset, loading
from metad2a_plugin.spaces.nasbench201.supernet import NASBench201Supernet
from metad2a_plugin.strategies import trained_search
from metad2a_plugin.training.files import load_network

CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
TINY = ["--epochs", "1", "--channels", "4", "--cells", "1", "--input-size", "8", "--device", "cpu"]
PLAIN = ["search", "--predictor", "params", "--top", "2"]
COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    monkeypatch.setenv("METAD2A_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.chdir(tmp_path)
    images, labels = coloured()
    np.savez("images.npz", images=images, labels=labels)
    return tmp_path


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Known tasks, far smaller than the shipped ones."""
    folder = tmp_path_factory.mktemp("tasks")
    build(folder)
    return str(folder / "library")


# -- JSON ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "arguments",
    [
        PLAIN,
        ["score", CELL, "--predictor", "flops"],
        ["pareto", "--predictor", "flops", "--points", "3"],
        ["similar", "images.npz"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_json_goes_to_standard_output_alone(arguments: list[str], work: Path, capsys: Any, library: str) -> None:
    arguments = [*arguments, "--library", library] if arguments[0] == "similar" else arguments
    assert main([*arguments, "--json", "-"]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found and "  " in shown.err, "the table is on standard error"
    assert main([*arguments, "--json", "r.json"]) == 0
    plain = capsys.readouterr().out
    kept = json.loads((work / "r.json").read_text())
    assert found | {"seconds": 0} == kept | {"seconds": 0} and "r.json" in plain
    assert list(work.glob("-*")) == []


@pytest.mark.parametrize(
    "arguments",
    [[*PLAIN, "images.npz"], ["score", CELL, "-d", "images.npz", "--predictor", "naswot"], ["similar", "images.npz"]],
    ids=lambda arguments: arguments[0],
)
def test_what_was_read_is_part_of_the_result(arguments: list[str], work: Path, capsys: Any, library: str) -> None:
    arguments = [*arguments, "--library", library] if arguments[0] == "similar" else arguments
    read = "images: 18 images, 3 classes, 6 a class ('0' 6, '1' 6, '2' 6)"
    assert main(arguments) == 0
    assert capsys.readouterr().out.count(read) == 1
    assert main([*arguments, "--json", "-"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) and read in shown.err
    assert main(["--quiet", *arguments]) == 0
    assert read not in capsys.readouterr().out


def test_a_link_and_a_pipe_are_written_into(work: Path) -> None:
    (work / "real").mkdir()
    (work / "link.json").symlink_to("real/r.json")
    assert main([*PLAIN, "--json", "link.json"]) == 0
    assert (work / "link.json").is_symlink() and json.loads((work / "real" / "r.json").read_text())
    os.mkfifo("pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe").read_text()), daemon=True)
    reader.start()
    assert main([*PLAIN, "--json", "pipe"]) == 0
    reader.join(30)
    assert json.loads(read[0]) and Path("pipe").is_fifo()


# -- notes ---------------------------------------------------------------------------------------
def test_quiet_leaves_notes_and_progress_out(work: Path, capsys: Any) -> None:
    given = ["train", "images.npz", "--strategy", "random", "--queries", "2", *TINY]
    shown = {}
    for name, options in {"plain": [], "quiet": ["-q"], "again": []}.items():
        assert main([*options, *given, "--out", name]) == 0
        shown[name] = capsys.readouterr()
    assert "query 2/2" in shown["plain"].err and "query 2/2" in shown["again"].err
    assert shown["quiet"].err == "" and "validation accuracy" in shown["quiet"].out
    assert main(["--quiet", *PLAIN, "--json", "r.json"]) == 0
    assert "r.json" not in capsys.readouterr().out and (work / "r.json").exists()


def test_verbose_says_what_was_read_and_where_an_error_comes_from(capsys: Any) -> None:
    assert main(["-v", "search", "images.npz", "--predictor", "params", "--top", "1"]) == 0
    assert "read images: 18 images, 3 classes" in capsys.readouterr().out
    assert main(["-v", "search", "gone"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said and said.splitlines()[-1].startswith("error: no file or folder 'gone'")


# -- images --------------------------------------------------------------------------------------
@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often images are read, decoded at which size, and split."""
    counted: Counter[str] = Counter()
    read, square, held_out = loading._read, dataset._square, ImageDataset.held_out

    def counted_read(source: Any) -> Any:
        counted["read"] += 1
        return read(source)

    def counted_square(source: Any, i: int, size: int) -> Any:
        counted[f"decoded at {size}"] += 1
        return square(source, i, size)

    def counted_split(self: ImageDataset, *arguments: Any) -> Any:
        counted["split"] += 1
        return held_out(self, *arguments)

    monkeypatch.setattr(loading, "_read", counted_read)
    monkeypatch.setattr(dataset, "_square", counted_square)
    monkeypatch.setattr(ImageDataset, "held_out", counted_split)
    return counted


@pytest.mark.parametrize(
    "what",
    [["-a", CELL, "--random", "1"], ["--strategy", "random", "--queries", "2", "--random", "1"], ["--top", "1"]],
    ids=["given", "strategy", "search"],
)
def test_train_decodes_and_splits_once(what: list[str], looks: Counter[str]) -> None:
    assert main(["train", "images.npz", *what, *TINY]) == 0
    assert (looks["read"], looks["decoded at 8"], looks["split"]) == (1, 18, 1)


@pytest.mark.parametrize("options", [[], ["--option", "batch-size=4"]], ids=["name", "object"])
def test_search_reads_its_images_once(options: list[str], looks: Counter[str]) -> None:
    small = ["--candidates", "2", "--top", "1", "--input-size", "8"]
    assert main(["search", "images.npz", "--predictor", "naswot", *small, *options]) == 0
    assert looks["read"] == 1


# -- options -------------------------------------------------------------------------------------
def test_an_option_of_networks_by_its_name(work: Path) -> None:
    small = ["--epochs", "1", "--cells", "1", "--input-size", "8", "--device", "cpu", "--network", "channels=3"]
    assert main(["train", "images.npz", "-a", CELL, "--out", "kept", *small]) == 0
    [path] = (work / "kept").rglob("network.safetensors")
    assert load_network(path).options == {"channels": 3, "cells": 1}
    assert main(["export", CELL, "n.safetensors", "--network", "channels=2", "--network", "cells=1"]) == 0
    assert load_network(work / "n.safetensors").options == {"channels": 2, "cells": 1}
    assert main(["train-supernet", "images.npz", "s.safetensors", *small]) == 0


def help_of(command: str, capsys: Any) -> str:
    assert main([command, "--help"]) == 0
    return capsys.readouterr().out


def test_the_overview_has_whole_sentences(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out.partition("Commands:")[2].strip().splitlines()
    assert [line.split()[0] for line in shown][:2] == ["auto", "search"] and len(shown) == len(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") and len(line) <= 80 for line in shown)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_terminal(command: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = help_of(command, capsys)
    assert max(map(len, shown.splitlines())) <= 80
    parameters = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    for name in (name for parameter in parameters for name in parameter.opts if name.startswith("--")):
        assert re.search(rf"{name}\b", shown), f"{name} is cut"
    assert not re.search(r"--\S+ <list", shown), "an option that may be repeated takes one value at a time"


@pytest.mark.parametrize("what", ["", "strategies", "predictors", "devices"])
def test_lists_fit_a_terminal(what: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for columns in (60, 80):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert main(["list", what]) == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= columns


def test_strategies_and_predictors_are_listed_with_their_options(capsys: Any) -> None:
    for what, name, option in [
        ("strategies", "regularized-evolution", "population_size=10"),
        ("strategies", "local-search", "improvement='steepest'"),
        ("predictors", "ofa-imagenet", "resolution=224"),
        ("strategies", "darts", "run_dir=None, epochs="),
        ("predictors", "params", "no options"),
    ]:
        assert main(["list", what]) == 0
        assert re.search(rf"^  {name} +[^\n]*{re.escape(option)}", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train gone --strategy area --option sample_size=many", "sample_size must be an integer, got 'many'"),
        ("train gone --strategy area --option sample_size=1.5", "sample_size must be an integer, got 1.5"),
        ("train gone --strategy ofa-evolution --option parent_ratio=x", "parent_ratio must be a number, got 'x'"),
        ("train gone --strategy metad2a --option adapt=1", "adapt must be true or false, got 1, for 'metad2a'"),
        ("train gone --strategy random --option size=1", "unexpected keyword argument 'size'"),
        ("search gone --predictor naswot --option batch-size=x", "batch_size must be an integer, got 'x'"),
        ("score 284 -d gone --predictor naswot --option batch-size=x", "batch_size must be an integer, got 'x'"),
    ],
)
def test_an_option_of_the_wrong_type_is_refused_before_any_work(command: str, message: str, capsys: Any) -> None:
    assert main(command.split()) == 2
    assert message in capsys.readouterr().err


def test_help_says_the_defaults_that_are_none_on_the_command_line(monkeypatch: Any, capsys: Any) -> None:
    """Where None stands for the default of a class or a function, which cannot be imported in time for --help."""
    monkeypatch.setenv("COLUMNS", "200")
    supernet = inspect.signature(NASBench201Supernet).parameters
    for command, option, default in [
        ("pareto", "points", Effort.points),
        ("pareto", "queries", Effort.queries),
        ("train", "queries", trained_search.QUERIES),
        ("train", "channels", supernet["channels"].default),
        ("train-supernet", "cells", supernet["cells"].default),
    ]:
        shown = " ".join(help_of(command, capsys).split())
        assert re.search(rf"--{option} \S+ [^-]*; {default} by default", shown), option


def test_shared_options_are_declared_once() -> None:
    """No two commands spell out the same option with the same words."""
    spelled: Counter[str] = Counter()
    for info in app.registered_commands:
        assert info.callback is not None
        for line in inspect.get_annotations(info.callback).values():
            if str(line).startswith("Annotated"):
                spelled[re.sub(r"\s", "", str(line))] += 1
    assert [line for line, count in spelled.items() if count > 1] == []
    assert get_args(search_commands.opt.Json)


def test_completion_is_offered(work: Path) -> None:
    environment = os.environ | {"_METAD2A_COMPLETE": "complete_bash", "COMP_WORDS": "metad2a tra", "COMP_CWORD": "1"}
    code = "import sys; from metad2a_plugin.cli import main; sys.argv[0] = 'metad2a'; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["train", "train-supernet"]


def test_help_is_quick() -> None:
    code = (
        "import sys; from metad2a_plugin.cli.main import main; main(['train', '--help']); "
        "sys.exit(sum(name in sys.modules for name in ('torch', 'numpy', 'sklearn', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_a_search_by_training_from_python(work: Path) -> None:
    from metad2a_plugin import TrainConfig, get_space, train_search

    config = TrainConfig(epochs=1, input_size=8, options={"channels": 4, "cells": 1}, device="cpu", seed=3)
    stages: list[tuple[str, int, int]] = []
    found = train_search(
        get_space("nasbench201"),
        "regularized-evolution",
        load_dataset("images.npz"),
        config,
        queries=3,
        options={"population_size": 2, "sample_size": 1},
        progress=lambda stage, done, total, note: stages.append((stage, done, total)),
    )
    assert stages == [("query", i, 3) for i in (1, 2, 3)] and found.strategy.seed == 3
    assert found.recommended is found.trained[0] and len(found.strategy.history) == 3
    assert len(found.data.train) + len(found.data.validation) == 18
    again = train_search(get_space("nasbench201"), "random", found.data, config, queries=1, shared_weights=True)
    assert again.data is found.data and not again.trained
    assert again.recommended.architecture == again.strategy.recommendation
