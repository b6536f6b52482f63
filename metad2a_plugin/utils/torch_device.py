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
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise ConfigError(f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); try 'cpu'") from error
    return torch.device(name)


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
