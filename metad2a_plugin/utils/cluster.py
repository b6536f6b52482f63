"""Ray: a cluster to work on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from metad2a_plugin.errors import ConfigError


@contextmanager
def cluster(address: str) -> Iterator[Any]:
    """The module ``ray``, connected; the connection ends with the block, unless it was there before.

    Args:
        address: of the cluster; ``"local"`` starts one on this machine alone.

    Raises:
        ConfigError: there is none, or it failed.
    """
    import ray

    started = not ray.is_initialized()
    try:
        if started:
            ray.init(address=address, log_to_driver=False)
        yield ray
    except (ConnectionError, ray.exceptions.RayError) as error:
        raise ConfigError(f"Ray at {address!r}: {str(error).strip().splitlines()[-1]}") from error
    finally:
        if started:
            ray.shutdown()
