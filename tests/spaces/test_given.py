"""What no space builds, nor counts: the same bounds wherever they are given, also for spaces of others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from plug_in_toys import Towers

from metad2a_plugin import get_space
from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces import SearchSpace
from metad2a_plugin.testing.toy import ToySpace

NASBENCH201 = get_space("nasbench201")
SPACES = [NASBENCH201, get_space("mobilenetv3"), Towers(), ToySpace()]


@pytest.mark.parametrize("given", [0, -1, 10**7 + 1, 10**9, 10**400, 2.0, "10", True, None, np.int64(10)])
@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_a_number_of_classes_that_no_network_has_is_refused(space: SearchSpace, given: Any) -> None:
    import random

    network = space.sample(random.Random(0))
    calls: list[Any] = [lambda: space.build(network, given), lambda: space.build(network, num_classes=given)]
    if given is not None:
        calls.append(lambda: Limits(space, num_classes=given))
    if space is NASBENCH201:
        calls += [lambda: space.supernet(given), lambda: space.supernet(num_classes=given, cells=1)]  # type: ignore[attr-defined]
    for call in calls:
        with pytest.raises(ConfigError, match="num_classes must be an integer from 1 to 10,000,000, got "):
            call()


def test_the_methods_keep_their_signatures_and_say_themselves_what_is_missing() -> None:
    cell = NASBENCH201.parse(3)
    assert NASBENCH201.check_options({"channels": 4}) == {"channels": 4}
    with pytest.raises(TypeError, match="num_classes"):
        NASBENCH201.build(cell)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="num_classes"):
        NASBENCH201.build(cell, 10, num_classes=0)  # type: ignore[misc]
    network = NASBENCH201.build(architecture=cell, num_classes=3, channels=1, cells=1)
    assert network.classifier.out_features == 3  # type: ignore[union-attr]
