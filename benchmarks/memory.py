"""The most memory that `auto` takes, on many small and on fewer large images, and whether it keeps to its time.

    python benchmarks/memory.py --minutes 3

Images are random patterns of ten classes in a zip, of the kind and size that photographs have. Each run is a process
of its own; its peak is what the system says of it.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

SETS = {"50,000 images of 32 px": (50_000, 32, "PNG"), "20,000 images of 224 px": (20_000, 224, "JPEG")}


def write_images(path: Path, count: int, side: int, kind: str) -> None:
    """A zip of ten class folders; classes differ in the frequency of their patterns."""
    rng = np.random.default_rng(0)
    grid = np.linspace(0, 2 * np.pi, side)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(count):
            label, phase = i % 10, rng.uniform(0, 6, (3, 2))
            wave = [np.add.outer(np.sin((label + 1) * grid + a), np.cos((label + 1) * grid + b)) for a, b in phase]
            pixels = 128 + 40 * np.stack(wave, -1) + rng.normal(0, 20, (side, side, 3))
            data = io.BytesIO()
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(data, kind)
            archive.writestr(f"class{label}/{i}.{kind.lower()}", data.getvalue())


def measure(path: Path, args: argparse.Namespace) -> tuple[float, float]:
    """Gigabytes and seconds of a run."""
    with tempfile.TemporaryDirectory() as folder:
        given = ["auto", str(path), "--time", f"{args.minutes:g}m", "--out", folder, "--device", "cpu"]
        command = [*given, "--encoder", "default"]
        began = time.monotonic()
        _, megabytes = common.watch(f"from metad2a_plugin.cli.main import main; raise SystemExit(main({command!r}))")
    return megabytes / 1000, time.monotonic() - began


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--minutes", type=float, default=3)
    args = parser.parse_args()
    rows = []
    for name, (count, side, kind) in SETS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "images.zip"
            write_images(path, count, side, kind)
            memory, seconds = measure(path, args)
        rows.append([name, f"{memory:.2f}", f"{60 * args.minutes:.0f}", f"{seconds:.0f}"])
        print(*rows[-1], flush=True)
    head = ["images", "peak memory, GB", "time given, s", "time taken, s"]
    results = {"settings": common.settings(args), "rows": rows}
    common.write(args.out, "memory", results, {"memory": common.markdown(head, rows)})


if __name__ == "__main__":
    main()
