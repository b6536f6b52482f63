"""Whether `auto` mirrors images, on every image set: what a classifier that has not seen mirrored ones loses on them.

python benchmarks/mirrored.py --data ../shared/data
"""

from __future__ import annotations

import argparse
from statistics import fmean, pstdev
from typing import TYPE_CHECKING

import torch

from metad2a_plugin.contest.config import AutoConfig
from metad2a_plugin.contest.images import Images
from metad2a_plugin.contest.references import as_good, mirrored
from metad2a_plugin.data import load_dataset

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

OBJECTS = {
    "digits": ("mnist_test", "hoda_persian_digits", "signdigits"),
    "photographs": ("weather", "grocery_coarse", "clothing10", "intel_scenes", "cifar10_test", "pacs_photo"),
    "others": ("magnetic_tiles", "pacs_sketch", "animal_silhouettes", "stylized16", "pneumoniamnist", "parking_spots"),
}


def rows(args: argparse.Namespace, kind: str, name: str) -> list[str]:
    path = args.data / "images" / f"{name}.zip"
    classes = load_dataset(path).num_classes
    found = []
    for seed in range(args.seeds):
        dataset = load_dataset(path, max_images_per_class=max(2, args.images // classes), seed=seed)
        images = Images(dataset, AutoConfig(3600, seed=seed, device="cpu"))
        images.sides = {"default": 64}
        found.append(mirrored(images))
    lost = [one[0] for one in found]
    decided = sum(as_good(*one) for one in found)
    return [kind, name.replace("_", " "), f"{fmean(lost):.1f} ± {pstdev(lost):.1f}", f"{decided} of {len(found)}"]


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--images", type=int, default=1200, help="of a set, at most")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    table = [rows(args, kind, name) for kind, names in OBJECTS.items() for name in names]
    for row in table:
        print(*row, flush=True)
    text = common.markdown(["", "image set", "points lost", "mirrored"], table)
    common.write(args.out, "mirrored", {"settings": common.settings(args), "rows": table}, {"mirrored": text})


if __name__ == "__main__":
    main()
