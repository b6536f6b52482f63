"""Names that the field uses lead to those of the registry."""

from __future__ import annotations

import pytest

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.registry import entry
from metad2a_plugin.utils.checks import did_you_mean, one_of, spelled


@pytest.mark.parametrize(
    ("kind", "name", "meant"),
    [
        ("spaces", "NAS-Bench-201", "nasbench201"),
        ("spaces", "nas_bench_201", "nasbench201"),
        ("spaces", "NATS-Bench", "nasbench201"),
        ("spaces", "NATS-Bench-TSS", "nasbench201"),
        ("spaces", "OFA", "mobilenetv3"),
        ("spaces", "Once-for-All", "mobilenetv3"),
        ("spaces", "MobileNetV3", "mobilenetv3"),
        ("spaces", "ofa_mbv3", "mobilenetv3"),
        ("strategies", "REA", "regularized-evolution"),
        ("strategies", "RegularizedEvolution", "regularized-evolution"),
        ("strategies", "regularised_evolution", "regularized-evolution"),
        ("strategies", "aging evolution", "regularized-evolution"),
        ("strategies", "RS", "random"),
        ("strategies", "RandomSearch", "random"),
        ("strategies", "LocalSearch", "local-search"),
        ("strategies", "MDE-NAS", "mdenas"),
        ("strategies", "DARTS", "darts"),
        ("predictors", "NWOT", "naswot"),
        ("predictors", "MACs", "flops"),
        ("encoders", "EfficientNet_Lite0", "efficientnet-lite0"),
        ("encoders", "MobileNetV2", "mobilenetv2"),
    ],
)
def test_the_field_s_names_lead_to_ours(kind: str, name: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{meant}'"):
        entry(kind, name)


def test_spellings_are_told_from_other_names() -> None:
    known = ("cifar10", "cifar100", "imagenet16-120")
    assert [spelled(name, known) for name in ("CIFAR-10", "cifar_100", "ImageNet16 120")] == list(known)
    assert spelled("cifar", known) == "cifar"
    with pytest.raises(ConfigError, match=r"unknown dataset 'cifar1'.*did you mean 'cifar10'"):
        one_of("dataset", "cifar1", known)


def test_no_hint_for_what_is_no_name() -> None:
    assert did_you_mean("x" * 10**6, ["x" * 10**6]) == did_you_mean("", ["random"]) == did_you_mean("???", ["a"]) == ""
