"""Each step of the import, and what is said where it cannot succeed."""

from __future__ import annotations

import collections
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import naslib_stand_in
import pytest
import torch

from metad2a_plugin.errors import HostError
from metad2a_plugin.utils import beside_torch

compat = pytest.importorskip(
    "metad2a_plugin.adapters._naslib_compat", reason="adapters are inside the package once it is installed"
)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Modules of a NASLib, to be spoilt; the real one, if loaded, is put back."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "naslib"]:
        monkeypatch.delitem(sys.modules, name)
    compat.prepare.cache_clear()
    with naslib_stand_in.installed():
        yield sys.modules
    compat.prepare.cache_clear()


def test_an_absent_naslib_is_said_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "find_spec", lambda name: None)
    compat.prepare.cache_clear()
    with pytest.raises(ImportError, match=r"git clone .*--branch Develop .* PYTHONPATH.* pip install"):
        compat.prepare()
    with pytest.raises(HostError, match="on no package index"):
        compat.prepare()


def test_nothing_is_done_where_nothing_is_needed(stand_in: Any) -> None:
    needed = set(compat.prepare())
    # These two are NASLib's own: the stand-in imports neither.
    assert not needed & {compat.reason(compat._single_parts), compat.reason(compat._search_path)}
    assert compat.prepare() is compat.prepare()


def test_folders_that_other_packages_put_on_the_path_stay(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def imported(name: str) -> Any:  # setuptools, which stands behind `distutils`, adds those that it carries
        if name == "distutils":
            sys.path.append("carried")
        return import_module(name)

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(compat, "import_module", imported)
    assert compat.reason(compat._search_path) not in compat.prepare()
    assert "carried" in sys.path


@pytest.mark.parametrize(
    ("module", "attribute"),
    [("naslib.defaults.trainer", "Trainer"), ("naslib.optimizers", "Bananas"), ("naslib.utils", "AttrDict")],
)
def test_another_version_is_said(stand_in: Any, module: str, attribute: str) -> None:
    delattr(stand_in[module], attribute)
    with pytest.raises(HostError, match=f"has no {module}.{attribute}: it is another version"):
        compat.prepare()


def test_a_space_of_another_version_is_said(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(naslib_stand_in.NasBench201SearchSpace, "set_op_indices")
    with pytest.raises(HostError, match=r"has no NasBench201SearchSpace.set_op_indices"):
        compat.prepare()


def test_a_missing_module_or_package_is_said(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name=missing.package)

    monkeypatch.setattr(compat, "import_module", missing)
    monkeypatch.setattr(compat, "_DURING_THE_IMPORT", ())
    for package, message in (("fvcore", "needs the package 'fvcore'.*pip install"), ("naslib.utils", "has no module")):
        missing.package = package
        with pytest.raises(HostError, match=message):
            compat.prepare()


def test_an_import_that_fails_in_another_way_is_said(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(name: str) -> Any:
        raise AttributeError("module 'numpy' has no attribute 'float'")

    monkeypatch.setattr(compat, "import_module", failing)
    monkeypatch.setattr(compat, "_DURING_THE_IMPORT", ())
    with pytest.raises(HostError, match="does not import: AttributeError: module 'numpy'"):
        compat.prepare()


def test_packages_of_single_parts_are_named_when_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "_SINGLE_PARTS", {"not_installed_anywhere"})
    taken: list[str] = []
    with compat._single_parts(taken):
        from not_installed_anywhere.models import Regressor

        class Own(Regressor):  # as NASLib has them
            pass

    assert taken == [compat.reason(compat._single_parts)]
    for use in (Regressor, Own, lambda: Regressor.fit(1)):
        with pytest.raises(HostError, match=r"needs the package 'not_installed_anywhere'.*pip install not_installed"):
            use()
    assert find_spec("not_installed_anywhere") is None, "others must go on finding it absent"


def test_an_absent_torchvision_is_named_with_the_line_that_keeps_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.machinery.PathFinder.find_spec", lambda *args: None)
    with compat.placeholders({"torchvision"}):
        from torchvision import transforms
    with pytest.raises(HostError, match=r"pip install torchvision torch==\d"):
        transforms.Compose([])


def test_no_line_brings_torchvision_and_with_it_another_torch() -> None:
    assert "torchvision" not in compat.INSTALL


def test_python_and_the_path_are_as_before() -> None:
    taken: list[str] = []
    before = list(sys.path)
    with compat._search_path(taken), compat._collections(taken):
        assert collections.Iterable is collections.abc.Iterable  # type: ignore[attr-defined]
        sys.path.insert(0, "somewhere")
        sys.modules["models.of_naslib"] = ModuleType("models.of_naslib")
    assert sys.path == before and not hasattr(collections, "Iterable") and "models.of_naslib" not in sys.modules
    assert len(taken) == 2


def test_names_that_are_not_used_need_not_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("distutils", "turtle")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("distutils", "turtle"):
        monkeypatch.setitem(sys.modules, name, None)
    taken: list[str] = []
    with compat._unused_names(taken):
        from distutils.command.config import config
        from turtle import pos

    assert taken == [compat.reason(compat._unused_names)]
    for name in (config, pos):
        with pytest.raises(HostError, match="needs the package"):
            name()
    assert not {"distutils", "distutils.command", "distutils.command.config", "turtle"} & set(sys.modules)


@pytest.mark.parametrize("error", [ImportError, OSError("libjpeg.so"), AttributeError])
def test_a_broken_torchvision_is_left_to_the_import_of_naslib(error: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(name: str) -> Any:
        raise error

    monkeypatch.setattr(beside_torch, "find_spec", lambda name: True)
    monkeypatch.setattr(beside_torch, "import_module", failing)
    taken: list[str] = []
    with compat._torchvision(taken):
        pass
    assert taken == []


def test_parameters_are_counted_where_numpy_refuses_to(stand_in: Any) -> None:
    def refused(model: Any) -> float:
        raise TypeError("numpy 2.4")

    for module in ("naslib.utils", "naslib.optimizers"):
        stand_in[module].count_parameters_in_MB = refused
    assert compat.reason(compat._parameter_count) in compat.prepare()
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(9, 10), "auxiliary": torch.nn.Linear(5, 5)})
    for module in ("naslib.utils", "naslib.optimizers"):
        assert stand_in[module].count_parameters_in_MB(model) == 100 / 1e6


def test_the_squared_error_has_its_argument_back(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def squared(truth: float, found: float) -> float:
        return (truth - found) ** 2

    metrics = SimpleNamespace(mean_squared_error=squared, root_mean_squared_error=lambda t, f: abs(t - f), other=1)
    monkeypatch.setitem(sys.modules, "sklearn.metrics", metrics)
    stand_in["naslib.utils"].metrics = metrics
    assert compat.reason(compat._squared_error) in compat.prepare()
    patched = stand_in["naslib.utils"].metrics
    assert patched.mean_squared_error(1, 4) == 9 and patched.mean_squared_error(1, 4, squared=False) == 3
    assert patched.other == 1 and metrics.mean_squared_error is squared, "scikit-learn itself is left alone"


def test_squared_errors_that_work_are_left_alone(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = SimpleNamespace(mean_squared_error=lambda truth, found, squared=True: 0.0)
    monkeypatch.setitem(sys.modules, "sklearn.metrics", metrics)
    stand_in["naslib.utils"].metrics = metrics
    compat.prepare()
    assert stand_in["naslib.utils"].metrics is metrics
