"""What a file of a network holds: its weights, what they are of, and a digest of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import nn

FORMAT = "metad2a-network-1"
FILE = "network.safetensors"
"""Its name in a folder."""


def stored(network: nn.Module, described: Mapping[str, Any]) -> bytes:
    """The content of a safetensors file.

    Args:
        network: whose weights are written.
        described: what `training.files.load_network` builds it from, see `Classifier.metadata`.
    """
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    header = {"format": FORMAT, "network": json.dumps(described), "sha256": weights_digest(weights)}
    return to_safetensors(weights, metadata=header)


def weights_digest(weights: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
