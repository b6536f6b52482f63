"""Optuna's own tests of samplers, on ours."""

from __future__ import annotations

from collections.abc import Callable

import pytest

optuna = pytest.importorskip("optuna", reason="Optuna is not installed")
suites = pytest.importorskip("optuna.testing.pytest_samplers", reason="this release of Optuna has no tests of samplers")

from metad2a_plugin.adapters.optuna import MetaD2ASampler, StrategySampler  # noqa: E402

from metad2a_plugin.search.metad2a import MetaD2A  # noqa: E402


class _Suites(suites.BasicSamplerTestCase, suites.RelativeSamplerTestCase, suites.SingleOnlySamplerTestCase):
    """Those of a sampler of one objective that draws parameters together."""


class TestStrategySampler(_Suites):
    @pytest.fixture
    def sampler(self) -> Callable[[], optuna.samplers.BaseSampler]:
        # The suites ask for parameters together after a single trial, which TPE draws one by one at first.
        return lambda: StrategySampler("random", sampler=optuna.samplers.TPESampler(n_startup_trials=0), seed=0)


@pytest.mark.slow
class TestMetaD2ASampler(_Suites):
    @pytest.fixture(scope="class")
    def model(self) -> MetaD2A:
        return MetaD2A.from_pretrained("nasbench201")

    @pytest.fixture
    def sampler(self, model: MetaD2A) -> Callable[[], optuna.samplers.BaseSampler]:
        inner = optuna.samplers.TPESampler(n_startup_trials=0)
        return lambda: MetaD2ASampler(model=model, sampler=inner, seed=0)
