"""What it takes to import NASLib (branch Develop, last changed in 2023) on current Python and packages.

Each function below is one step, and its docstring the reason for it. A step is taken only where it is needed; what only
the import of NASLib needs is undone after it, and no other package is changed.
"""

from __future__ import annotations

import collections
import collections.abc
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

from metad2a_plugin.errors import HostError
from metad2a_plugin.utils.beside_torch import import_torchvision

from ._placeholders import placeholder, placeholders

PACKAGES = (
    "pip install scikit-learn scipy scikit-image matplotlib tqdm fvcore termcolor pytorch_msssim "
    "transforms3d nasbench_pytorch"
)
"""Installs what NASLib imports, and nothing that asks for another torch; packages of single parts may be absent."""
INSTALL = (
    f"get it with: git clone --branch Develop https://github.com/automl/NASLib && export PYTHONPATH=$PWD/NASLib && "
    f"{PACKAGES}"
)

_NAMES = {
    "naslib.defaults.predictor_evaluator": ("PredictorEvaluator",),
    "naslib.defaults.trainer": ("Trainer",),
    "naslib.optimizers": ("Bananas", "DARTSOptimizer", "GDASOptimizer", "LocalSearch", "Npenas", "RandomSearch"),
    "naslib.optimizers.core.metaclasses": ("MetaOptimizer",),
    "naslib.predictors.predictor": ("Predictor",),
    "naslib.search_spaces": ("NasBench201SearchSpace",),
    "naslib.search_spaces.core.query_metrics": ("Metric",),
    "naslib.utils": ("AttrDict", "count_parameters_in_MB", "set_seed"),
}
"""What the adapter uses of NASLib; another version of it may lack some."""
_SPACE_METHODS = ("clone", "get_nbhd", "get_op_indices", "get_type", "query", "set_op_indices")
_SINGLE_PARTS = {
    # predictors, and the data sets of torchvision
    *("ConfigSpace", "emcee", "graphviz", "grakel", "lightgbm", "ngboost", "pybnn", "pyro", "seaborn", "six"),
    *("tensorwatch", "torchvision", "xgboost"),
}


@cache
def prepare() -> tuple[str, ...]:
    """Import NASLib, in spite of current Python and packages; a second call does nothing.

    Returns:
        The reasons of the steps that were needed.

    Raises:
        HostError: NASLib is not on the path, is another version, or a package that it needs is missing.
    """
    if find_spec("naslib") is None:
        raise HostError(f"this adapter needs NASLib, which is on no package index; {INSTALL}")
    taken: list[str] = []
    with ExitStack() as during_the_import:
        for step in _DURING_THE_IMPORT:
            during_the_import.enter_context(step(taken))
        _import()
    taken += [reason(repair) for repair in _REPAIRS if repair()]
    return tuple(dict.fromkeys(taken))


def reason(step: Callable[..., Any]) -> str:
    """The sentence that says why a step is taken."""
    return " ".join((step.__doc__ or "").split())


def _import() -> None:
    try:
        modules = {name: import_module(name) for name in _NAMES}
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "naslib":
            raise _other_version(f"has no module {error.name!r}") from error
        raise HostError(f"NASLib needs the package {package!r}, which is not installed; {PACKAGES}") from error
    except Exception as error:  # a host's import can raise anything
        raise HostError(f"NASLib does not import: {type(error).__name__}: {error}") from error
    for name, attributes in _NAMES.items():
        for attribute in attributes:
            if not hasattr(modules[name], attribute):
                raise _other_version(f"has no {name}.{attribute}")
    for method in _SPACE_METHODS:
        if not hasattr(modules["naslib.search_spaces"].NasBench201SearchSpace, method):
            raise _other_version(f"has no NasBench201SearchSpace.{method}")


def _other_version(lack: str) -> HostError:
    return HostError(f"the NASLib on the path {lack}: it is another version than this adapter is for; {INSTALL}")


# -- while NASLib is imported ----------------------------------------------------------------------
@contextmanager
def _collections(taken: list[str]) -> Iterator[None]:
    """Python 3.10 has moved `collections.Iterable`, which a helper of a Gaussian process imports."""
    needed = not hasattr(collections, "Iterable")
    if needed:
        collections.Iterable = collections.abc.Iterable  # type: ignore[attr-defined]
        taken.append(reason(_collections))
    try:
        yield
    finally:
        if needed:
            del collections.Iterable  # type: ignore[attr-defined]


@contextmanager
def _unused_names(taken: list[str]) -> Iterator[None]:
    """An optimizer imports what it never uses, of `distutils`, gone in Python 3.12, and `turtle`, which needs Tk."""
    absent = []
    for name in ("distutils", "distutils.command", "distutils.command.config", "turtle"):
        try:
            import_module(name)
        except ImportError:
            sys.modules[name] = placeholder(name)
            absent.append(name)
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)
        if absent:
            taken.append(reason(_unused_names))


@contextmanager
def _torchvision(taken: list[str]) -> Iterator[None]:
    """The index has torchvision built for CUDA only, which looks for two operators that a CPU build of torch lacks."""
    if import_torchvision():
        taken.append(reason(_torchvision))
    yield


@contextmanager
def _single_parts(taken: list[str]) -> Iterator[None]:
    """NASLib imports what single parts of it need, used or not; absent packages are named when they are used."""
    with placeholders(_SINGLE_PARTS) as found:
        try:
            yield
        finally:
            if found:
                taken.append(reason(_single_parts))


@contextmanager
def _search_path(taken: list[str]) -> Iterator[None]:
    """NASLib puts folders of its own on the path, where `import utils` or `import models` would find its modules."""
    path, modules = list(sys.path), set(sys.modules)
    try:
        yield
    finally:
        if sys.path != path:
            sys.path[:] = path
            for name in [name for name in sys.modules.keys() - modules if name.partition(".")[0] == "models"]:
                del sys.modules[name]
            taken.append(reason(_search_path))


_DURING_THE_IMPORT: tuple[Callable[[list[str]], AbstractContextManager[None]], ...] = (
    _collections,
    _unused_names,
    _torchvision,
    _single_parts,
    _search_path,  # last: what the others import may add folders too (setuptools for `distutils`), which stay
)


# -- after it --------------------------------------------------------------------------------------
def _kernel() -> bool:
    """The same Gaussian process asks for `collections.Iterable` again when it is used."""
    module = sys.modules.get("naslib.predictors.gp.gpwl_utils.wl_kernel")
    if module is None or hasattr(collections, "Iterable"):
        return False
    module.__dict__["collections"] = collections.abc
    return True


def _parameter_count() -> bool:
    """NumPy 2.4 refuses the sum over a generator with which NASLib counts parameters."""
    import torch

    counted = sys.modules["naslib.utils"].count_parameters_in_MB
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            counted(torch.nn.Linear(1, 1))
    except TypeError:
        _replace("count_parameters_in_MB", counted, _count_parameters)
        return True
    return False


def _count_parameters(model: Any) -> float:
    """Millions of parameters, without those of auxiliary heads."""
    return sum(p.numel() for name, p in model.named_parameters() if "auxiliary" not in name) / 1e6


def _squared_error() -> bool:
    """scikit-learn 1.6 has dropped an argument of the squared error; NASLib then silently makes every metric NaN."""
    metrics = sys.modules.get("sklearn.metrics")
    if metrics is None or "squared" in inspect.signature(metrics.mean_squared_error).parameters:
        return False

    def mean_squared_error(*args: Any, squared: bool = True, **kwargs: Any) -> Any:
        error = metrics.mean_squared_error if squared else metrics.root_mean_squared_error
        return error(*args, **kwargs)

    _replace("metrics", metrics, SimpleNamespace(**vars(metrics) | {"mean_squared_error": mean_squared_error}))
    return True


def _replace(name: str, old: object, new: object) -> None:
    """In every module of NASLib, since these import names from each other."""
    for module in [m for key, m in sys.modules.items() if key.partition(".")[0] == "naslib"]:
        if module.__dict__.get(name) is old:
            module.__dict__[name] = new


_REPAIRS = (_kernel, _parameter_count, _squared_error)
