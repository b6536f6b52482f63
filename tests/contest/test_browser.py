"""The page of a run in a real browser, where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metad2a_plugin.contest import run as module
from metad2a_plugin.contest.config import AutoConfig
from metad2a_plugin.contest.page import write_page
from metad2a_plugin.contest.run import auto
from metad2a_plugin.data import load_dataset

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome is installed")
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    images = rng.integers(0, 120, (60, 16, 16, 3)) + 60 * labels[:, None, None, None]
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST_EPOCHS", 2)
        config = AutoConfig(seconds=36_000, encoders=["default"], device="cpu")
        found = auto(load_dataset((images.astype(np.uint8), labels), name="noise"), folder, config)
    write_page(found, folder / "index.html")
    return folder / "index.html"


def browse(page: Path, *arguments: str) -> str:
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", *arguments]
    profile = f"--user-data-dir={page.parent / 'profile'}"
    done = subprocess.run([*command, profile, page.as_uri()], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("width", [500, 1200])  # no browser window is narrower than 500
def test_all_figures_are_shown_and_nothing_is_wider_than_the_window(page: Path, width: int, tmp_path: Path) -> None:
    probe = tmp_path / "probe.html"
    measure = (
        "<script>addEventListener('load', () => { const images = [...document.images];"
        "document.body.dataset.broken = images.filter(i => !i.naturalWidth).length;"
        "document.body.dataset.images = images.length;"
        "document.body.dataset.over = document.documentElement.scrollWidth - innerWidth; })</script>"
    )
    probe.write_text(page.read_text().replace("</head>", f"{measure}</head>"))
    dom = browse(probe, "--dump-dom", f"--window-size={width},900")
    seen = {name: int(value) for name, value in re.findall(r'data-(broken|images|over)="(-?\d+)"', dom)}
    assert seen["broken"] == 0 and seen["images"] > 5 and seen["over"] <= 0


@pytest.mark.slow
def test_the_first_screen_has_something_on_it(page: Path, tmp_path: Path) -> None:
    browse(page, f"--screenshot={tmp_path / 'page.png'}", "--window-size=760,1000")
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("L"))
    assert (pixels < 128).mean() > 0.01 and (pixels > 240).mean() > 0.3
