"""What any network must beat: the most frequent class, and a linear classifier of each encoder's features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from metad2a_plugin.contest.images import Images
from metad2a_plugin.contest.result import Answers, Reference
from metad2a_plugin.data import get_encoder
from metad2a_plugin.data.encoders import get_untrained_encoder
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.encoder import TrainableEncoder
from metad2a_plugin.training.encoder_network import EncoderClassifier
from metad2a_plugin.utils.progress import Progress

_MIRRORED, _BATCH = 1000, 64  # images
_LOST = 10.0
"""Points; digits lose far more, photographs hardly any (`benchmarks/mirrored.py`)."""


def linear_on(encoder: str) -> str:
    """Name of the reference."""
    return f"linear classifier on {encoder}"


def check_encoder(name: str) -> str:
    """The fingerprint of an encoder; one whose network cannot be trained further or read back is refused.

    Raises:
        ConfigError: no such encoder, or one of that kind.
        MissingExtraError: it needs a package that is not installed.
        CheckpointError: its weights are missing or damaged.
    """
    encoder, other = get_encoder(name), get_untrained_encoder(name)
    if not isinstance(encoder, TrainableEncoder) or not isinstance(other, TrainableEncoder):
        raise ConfigError(f"the encoder {name!r} has no network to train; use another, such as 'default'")
    network, read = encoder.network().eval(), other.network().eval()
    try:
        read.load_state_dict(network.state_dict())
        for side in (encoder.size, encoder.size // 2):
            pixels = torch.arange(3 * side**2).remainder(251).to(torch.uint8).view(1, 3, side, side)
            with torch.no_grad():
                if not torch.allclose(network(pixels), read(pixels), atol=1e-4):
                    raise ValueError("what is read back gives other features")
    except Exception as error:  # of somebody else's network
        raise ConfigError(
            f"the encoder {name!r} cannot be used here ({type(error).__name__}: {error}); it must take images of half "
            "its size too, and all of it must be in its weights"
        ) from error
    return encoder.fingerprint


def sides(images: Images, names: Sequence[str], seconds: float) -> dict[str, int]:
    """Encoders whose features of all images take no longer, and the size of the images for that."""
    found: dict[str, int] = {}
    for name in names:
        full = images.encoder(name).size
        side = next((side for side in (full, full // 2) if images.seconds(name, side) <= seconds), None)
        if side is not None:
            found[name] = side
        elif name == names[0]:
            # One there must be.
            found[name] = full // 2
    return found


def mirrored(images: Images) -> tuple[float, float]:
    """How much worse images are told when mirrored, by a classifier that has not seen such.

    The linear classifier of the first encoder is asked, on validation images. Photographs lose nothing; a digit becomes
    another sign.

    Returns:
        Accuracy lost and its standard error, in points.
    """
    name, side = next(iter(images.sides.items()))
    order = np.random.default_rng(images.config.seed).permutation(len(images.validation))[:_MIRRORED]
    labels, right = torch.from_numpy(images.validation.labels[order]), []
    for flipped in (False, True):
        parts = []
        for part in np.array_split(order, -(-len(order) // _BATCH)):
            pixels = images.validation.images(part, side)
            parts.append(images.encoder(name)(pixels.flip(-1) if flipped else pixels))
        right.append((images.head(name)(torch.cat(parts)).argmax(1).cpu() == labels).double())
    lost = right[0] - right[1]
    # As if there were an image more that differs, so that few images are not sure of anything.
    variance = lost.var(correction=0) + 1 / len(lost)
    return 100 * lost.mean().item(), 100 * (variance / len(lost)).sqrt().item()


def as_good(lost: float, error: float) -> bool:
    """Whether mirrored images are as good, by what `mirrored` says: surely less than so many points are lost."""
    return lost + 2 * error < _LOST


def references(images: Images, progress: Progress) -> list[Reference]:
    """The most frequent class first, then the encoders of `Images.sides`."""
    parts = {"validation": images.validation, "test": images.tested}
    common = np.bincount(images.train.labels).argmax()
    frequent = {kind: 100 * float((part.labels == common).mean()) for kind, part in parts.items()}
    found = [Reference("most frequent class", **frequent, network=None)]
    for name, side in images.sides.items():
        progress(f"features of {name}", 0, 1, "")
        features, head = images.features(name), images.head(name)
        accuracies = {
            kind: Answers(torch.from_numpy(part.labels), head(features[kind]).float()).accuracy
            for kind, part in parts.items()
        }
        network = EncoderClassifier(name, images.dataset.class_names, input_size=side, head=head).eval()
        found.append(Reference(linear_on(name), **accuracies, network=network))
        progress(f"features of {name}", 1, 1, f"validation accuracy {accuracies['validation']:.1f}%")
    return found
