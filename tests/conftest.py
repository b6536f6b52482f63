from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_toys import LocalHub
from hypothesis import settings

# Tests run in parallel processes already, and a sum over several threads can differ in its last bits.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Started in the background of a script, tests and the processes they start would not hear of an interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Loaded machines are slow at times: no deadline. Derandomized: the same commit gives the same result.
settings.register_profile("metad2a", deadline=None, derandomize=True)
settings.load_profile("metad2a")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The real data, which is not part of the repository."""
    default = Path(__file__).parents[2] / "shared" / "data"
    root = Path(os.environ.get("METAD2A_DATA", default))
    if not root.is_dir():
        pytest.skip(f"no data at {root}; set METAD2A_DATA to the folder that holds it")
    return root


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A hub of models on the loopback address, which `huggingface_hub` asks, with a cache that is empty."""
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    made = LocalHub()
    made.use(monkeypatch, tmp_path / "hub-cache")
    yield made
    made.close()
