from __future__ import annotations

import io
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from metad2a_plugin.errors import ConfigError, MissingExtraError
from metad2a_plugin.spaces import Architecture
from metad2a_plugin.spaces.drawing import _edges
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.spaces.nasbench201.cell import CELL_EDGES
from metad2a_plugin.spaces.nasbench201.space import NASBench201

SPACE = NASBench201()
STAGES = MobileNetV3Space()
NETWORK = STAGES.parse("k5e4-k3e3-k7e6+k7e6-k3e3+k3e4-k3e3-k5e6-k7e3+k3e3-k3e3+k7e6-k7e6")
CELL = Architecture("nasbench201", (3, 0, 0, 1, 2, 4))


def colourfulness(path: Path) -> int:
    """The largest difference between the channels of a pixel, 0 to 255."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return int((pixels.max(-1) - pixels.min(-1)).max())


def test_svg_is_well_formed_and_repeats_byte_for_byte(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        SPACE.draw(CELL, tmp_path / name, title="top 1: 93.7 % & <$x$>")
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_png_is_a_picture_with_colour_and_repeats(tmp_path: Path) -> None:
    SPACE.draw(CELL, str(tmp_path / "a.PNG"))
    SPACE.draw(CELL, tmp_path / "b.png")
    picture = (tmp_path / "a.PNG").read_bytes()
    assert picture == (tmp_path / "b.png").read_bytes()
    assert min(Image.open(io.BytesIO(picture)).size) > 400
    assert colourfulness(tmp_path / "b.png") > 100


def test_dead_cells_are_drawn_without_colour(tmp_path: Path) -> None:
    SPACE.draw(Architecture("nasbench201", (3, 0, 2, 0, 0, 0)), tmp_path / "dead.png")
    assert colourfulness(tmp_path / "dead.png") < 8


def test_edges_are_live_exactly_on_paths_from_input_to_output() -> None:
    ops = ["nor_conv_3x3", "none", "none", "skip_connect", "nor_conv_1x1", "avg_pool_3x3"]
    assert [edge.live for edge in _edges(ops, CELL_EDGES)] == [True, False, False, True, True, False]
    assert [e.live for e in _edges(["skip_connect"] * 3 + ["none"] * 3, CELL_EDGES)] == [False] * 6


def test_networks_of_stages_are_drawn_alike(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg", "a.png"):
        STAGES.draw(NETWORK, tmp_path / name, title="photos, rank 1")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    # One rectangle a layer, one mark a place that is not used, and the background.
    drawing = (tmp_path / "a.svg").read_text()
    assert drawing.count('id="patch_') == 13 + 1 and drawing.count('id="line2d_') == 7
    assert min(Image.open(tmp_path / "a.png").size) > 400 and colourfulness(tmp_path / "a.png") > 100
    STAGES.draw(STAGES.neighbors(NETWORK)[0], tmp_path / "b.svg", title="photos, rank 1")
    assert (tmp_path / "a.svg").read_bytes() != (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize("name", ["cell.gif", "cell", "svg"])
def test_other_suffixes_are_refused_and_leave_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"\.svg or \.png"):
        SPACE.draw(CELL, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_made_and_one_that_cannot_be_is_named(tmp_path: Path) -> None:
    SPACE.draw(CELL, tmp_path / "new" / "cell.svg")
    assert (tmp_path / "new" / "cell.svg").is_file()
    with pytest.raises(ConfigError, match=r"cannot write .*cell\.svg/other\.svg"):
        SPACE.draw(CELL, tmp_path / "new" / "cell.svg" / "other.svg")


def test_matplotlib_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"metad2a-plugin\[draw\]"):
        SPACE.draw(CELL, tmp_path / "cell.svg")


def test_the_users_matplotlib_settings_neither_matter_nor_change(tmp_path: Path) -> None:
    SPACE.draw(CELL, tmp_path / "a.svg", title="cell")
    with matplotlib.rc_context({"font.size": 30, "savefig.bbox": "tight", "text.color": "red"}):
        before = dict(matplotlib.rcParams)
        SPACE.draw(CELL, tmp_path / "b.svg", title="cell")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
