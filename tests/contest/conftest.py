from __future__ import annotations

from collections.abc import Iterator

import pytest

from metad2a_plugin.candidates.speed import Speed
from metad2a_plugin.contest import propose


@pytest.fixture(autouse=True, scope="session")
def speed() -> Iterator[None]:
    """Of a made-up machine: these tests are not of the trainings that measure this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(propose, "measure_speed", lambda space, device: Speed(1e-3, 1e-11, 1e-9))
        yield
