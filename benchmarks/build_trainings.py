"""Go on with the meta-database of real trainings, `benchmarks/trainings`: its image sets in their order.

    python benchmarks/build_trainings.py --trainings 5000 --workers 2

As `metad2a build-database` with every set of ``METAD2A_DATA/images`` but those for testing, and scikit-learn's digits.
It may be stopped and started again at any time; rows are appended as they come.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.datasets import load_digits

from metad2a_plugin.meta.trainings.build import build_trainings
from metad2a_plugin.meta.trainings.config import TrainingsConfig
from metad2a_plugin.utils.progress import stages

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

SETS = (
    *("cifar10_train", "mnist_train", "caltech101", "clothing10", "signdigits", "grocery_coarse", "stylized16"),
    *("edges_silhouettes16", "pacs_photo", "pacs_sketch", "magnetic_tiles", "intel_scenes", "weather"),
    *("hoda_persian_digits", "animal_silhouettes", "parking_spots", "pneumoniamnist", "imagenet64"),
)
"""Their order decides which tasks a row is of; a new one would be of another database."""
FOLDER = Path(__file__).parent / "trainings"


def image_sets(data: Path, runs: Path) -> list[Path]:
    """Paths of the sets; the digits are written into `runs`."""
    digits = load_digits()
    pixels = (digits.images * 255 / 16).round().astype(np.uint8)
    runs.mkdir(parents=True, exist_ok=True)
    np.savez(runs / "digits.npz", images=np.repeat(pixels[..., None], 3, -1), labels=digits.target)
    return [*(data / "images" / f"{name}.zip" for name in SETS), runs / "digits.npz"]


def main() -> None:
    arguments = common.parser(__doc__)
    arguments.add_argument("--folder", type=Path, default=FOLDER, help="of the database")
    arguments.add_argument("--trainings", type=int, default=TrainingsConfig.trainings)
    arguments.add_argument("--workers", type=int, default=1)
    arguments.add_argument("--device", default="cpu")
    given = arguments.parse_args()
    config = TrainingsConfig(trainings=given.trainings)
    with stages() as progress:
        build_trainings(
            image_sets(given.data, given.runs),
            given.folder,
            config,
            workers=given.workers,
            device=given.device,
            progress=progress,
        )


if __name__ == "__main__":
    main()
