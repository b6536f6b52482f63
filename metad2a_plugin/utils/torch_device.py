"""Torch devices by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from metad2a_plugin.errors import ConfigError


def usable(name: str) -> torch.device:
    """The device of that name; ``"auto"`` is a GPU where there is one, else the CPU.

    Raises:
        ConfigError: it cannot be used here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        # What cannot be read back holds nothing, such as "meta".
        torch.zeros(1, device=name).item()
        return torch.device(name)
    except Exception as error:  # back ends that are not there raise many types
        # Of other names torch says which back ends it was written for, not which are here.
        reason = f" ({str(error).splitlines()[0]})" if str(name).startswith("cuda") and str(error) else ""
        raise ConfigError(
            f"device {name!r} cannot be used here{reason}; try {' or '.join(map(repr, devices()))}"
        ) from error


def devices() -> tuple[str, ...]:
    """Names of the devices of this machine."""
    cuda = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return ("cpu", *cuda, *["mps"] * torch.backends.mps.is_available())


@contextmanager
def seeded(seed: tuple[int, ...], device: torch.device) -> Iterator[None]:
    """The global generators seeded, and afterwards as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]) >> 1)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, so that the same row always gives the same number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def refuse_other_dtypes() -> None:
    """Refuse a default dtype of torch that the models, which are float32, do not fit to, with a `ConfigError`."""
    if (dtype := torch.get_default_dtype()) != torch.float32:
        raise ConfigError(
            f"torch's default dtype is {dtype}, and this package's models are float32; call "
            "torch.set_default_dtype(torch.float32) around what uses them"
        )
