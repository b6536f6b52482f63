"""Distil the default image encoder from a teacher's features of 20,931 ImageNet images at 64 px.

    python benchmarks/train_encoder.py --data ../shared/data --out metad2a_plugin/pretrained/encoder

Every epoch ends in a checkpoint beside `--work`; the same command resumes from it.
The teacher's features are scaled per dimension by the square root of their standard deviation, half way
between raw principal components (dominated by the first few) and whitened ones (dominated by noise).
"""

from __future__ import annotations

import argparse
import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from metad2a_plugin.data.distilled import DistilledEncoder

SIZE = 64
HELD_OUT_CLASSES = 20


def load(data: Path) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Images uint8 [n, 3, 64, 64], scaled teacher features [n, 256], class folder of each image [n]."""
    with zipfile.ZipFile(data / "images" / "imagenet64.zip") as archive:
        names = [n for n in archive.namelist() if not n.endswith("/")]
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(n))).convert("RGB")) for n in names])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    features = np.load(data / "images" / "imagenet64_teacher_features.npz")["features"].astype(np.float32)
    features -= features.mean(0)
    features /= np.sqrt(features.std(0))
    features /= features.std()
    return images, torch.from_numpy(features), np.array([n.split("/")[-2] for n in names])


def held_out_mask(classes: np.ndarray, meta_wnids: set[str], seed: int) -> np.ndarray:
    """Images of `HELD_OUT_CLASSES` classes that have at least 40 images and are in no meta-training task."""
    names, counts = np.unique(classes, return_counts=True)
    eligible = [n for n, c in zip(names, counts, strict=True) if c >= 40 and n not in meta_wnids]
    chosen = np.random.default_rng(seed).choice(eligible, HELD_OUT_CLASSES, replace=False)
    return np.isin(classes, chosen)


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random crop and scale, mirror, brightness/contrast/saturation, and sometimes the blur of a 32 px original."""
    n = len(images)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.rand(shape or (n,), generator=generator) * (high - low) + low

    x = images.float()
    scale = uniform(0.7, 1.0)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = scale * torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    theta[:, 1, 1] = scale * uniform(0.9, 1.1).clamp(max=1.0)
    theta[:, :, 2] = (1 - scale)[:, None] * uniform(-1, 1, n, 2)
    x = F.grid_sample(x, F.affine_grid(theta, list(x.shape), align_corners=False), align_corners=False)
    small = uniform(0, 1) < 0.25
    if small.any():
        x[small] = F.interpolate(F.interpolate(x[small], scale_factor=0.5, mode="area"), size=SIZE, mode="bilinear")
    grey = x.mean(1, keepdim=True)
    saturation = torch.where(uniform(0, 1) < 0.1, torch.zeros(n), uniform(0.6, 1.4))
    x = grey + (x - grey) * saturation[:, None, None, None]
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * uniform(0.7, 1.3, n, 1, 1, 1) + mean * uniform(0.7, 1.3, n, 1, 1, 1)
    return x.clamp_(0, 255).contiguous(memory_format=torch.channels_last)


def distillation_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Squared error, plus picking the own teacher vector out of the batch (keeps directions apart)."""
    logits = F.normalize(student, dim=1) @ F.normalize(teacher, dim=1).T / 0.1
    return F.mse_loss(student, teacher) + 0.1 * F.cross_entropy(logits, torch.arange(len(student)))


@torch.inference_mode()
def evaluate(
    model: torch.nn.Module, images: torch.Tensor, targets: torch.Tensor, labels: np.ndarray
) -> dict[str, float]:
    """Fit to the teacher, and 20-way nearest-centroid accuracy (half the images make the centroids)."""
    model.eval()
    out = torch.cat([model(b) for b in images.split(256)])
    index = torch.from_numpy(np.unique(labels, return_inverse=True)[1])
    half = torch.arange(len(index)) % 2 == 0

    def centroid_accuracy(x: torch.Tensor) -> float:
        x = F.normalize(x, dim=1)
        centres = torch.stack([x[half & (index == c)].mean(0) for c in range(int(index.max()) + 1)])
        return float(((x[~half] @ F.normalize(centres, dim=1).T).argmax(1) == index[~half]).float().mean())

    return {
        "r2": float(1 - (out - targets).square().sum() / (targets - targets.mean(0)).square().sum()),
        "cosine": float(F.cosine_similarity(out, targets).mean()),
        "centroid_accuracy": centroid_accuracy(out),
        "centroid_accuracy_teacher": centroid_accuracy(targets),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("metad2a_plugin/pretrained/encoder"))
    parser.add_argument("--work", type=Path, default=Path("runs/encoder"))
    parser.add_argument("--epochs", type=int, default=36)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=0, help="0 keeps the default")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.work.mkdir(parents=True, exist_ok=True)

    images, targets, classes = load(args.data)
    wnids = [line.split()[0] for line in (args.data / "metad2a" / "map_clsloc.txt").read_text().splitlines()]
    held_out = held_out_mask(classes, set(wnids[:600]), args.seed)
    train = torch.from_numpy(np.flatnonzero(~held_out))
    test = torch.from_numpy(np.flatnonzero(held_out))

    config: dict[str, Any] = {"stem": [24, 48], "widths": [48, 96, 192], "depths": [1, 2, 2], "dim": targets.shape[1]}
    model = DistilledEncoder(**config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.05)
    steps = len(train) // args.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=steps * args.epochs, pct_start=0.1)
    start, state_path = 0, args.work / "state.pt"
    if state_path.exists():
        state = torch.load(state_path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        start = state["epoch"]
    metrics: dict[str, float] = {}
    for epoch in range(start, args.epochs):
        # A generator per epoch makes a resumed run equal to an uninterrupted one.
        generator = torch.Generator().manual_seed(args.seed * 1000 + epoch)
        order = train[torch.randperm(len(train), generator=generator)]
        model.train()
        began, total = time.time(), 0.0
        for batch in order[: steps * args.batch].split(args.batch):
            loss = distillation_loss(model(augment(images[batch], generator)), targets[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        metrics = evaluate(model, images[test], targets[test], classes[test])
        print(f"epoch {epoch + 1} loss {total / steps:.4f} {metrics} {time.time() - began:.0f} s", flush=True)
        torch.save(
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "epoch": epoch + 1,
            },
            state_path.with_suffix(".tmp"),
        )
        state_path.with_suffix(".tmp").replace(state_path)

    from safetensors.torch import save_file

    args.out.mkdir(parents=True, exist_ok=True)
    model.eval()
    metrics = evaluate(model, images[test], targets[test], classes[test])
    half = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    save_file({k: v.contiguous() for k, v in half.items()}, args.out / "model.safetensors")
    card = {
        "name": "default",
        "size": SIZE,
        "model": config,
        "epochs": args.epochs,
        "seed": args.seed,
        "held_out": metrics,
    }
    (args.out / "config.json").write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
