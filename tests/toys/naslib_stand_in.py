"""The part of NASLib's interface that the adapter stands on, for where NASLib is not importable.

Signatures are NASLib's (`test_naslib_real.py` holds them against the real ones), what is inside is not.
"""

# ruff: noqa: B027, RUF012 (as NASLib has them)
from __future__ import annotations

import copy
import json
import random
import sys
from abc import ABCMeta, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch

OPS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")


class Metric(Enum):
    RAW = auto()
    TRAIN_ACCURACY = auto()
    VAL_ACCURACY = auto()
    TEST_ACCURACY = auto()
    TRAIN_TIME = auto()


class AttrDict(dict):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.__dict__ = self


class MetaOptimizer(metaclass=ABCMeta):
    using_step_function = True

    def step(self, data_train, data_val): ...

    def train_statistics(self): ...

    def test_statistics(self): ...

    @abstractmethod
    def adapt_search_space(self, search_space, dataset, scope=None): ...

    def new_epoch(self, epoch): ...

    def before_training(self): ...

    def after_training(self): ...

    @abstractmethod
    def get_final_architecture(self): ...

    @abstractmethod
    def get_op_optimizer(self): ...

    def get_model_size(self):
        return 0

    def get_checkpointables(self): ...


class Predictor:
    def __init__(self, ss_type=None, encoding_type=None):
        self.ss_type, self.encoding_type = ss_type, encoding_type

    def set_ss_type(self, ss_type): ...

    def pre_process(self): ...

    def pre_compute(self, xtrain, xtest, unlabeled=None): ...

    def fit(self, xtrain, ytrain, info=None): ...

    def query(self, xtest, info): ...

    def get_data_reqs(self):
        return {"requires_partial_lc": False, "requires_hyperparameters": False, "unlabeled": False}

    def set_hyperparams(self, hyperparams): ...

    def get_hyperparams(self):
        return self.hyperparams

    def reset_hyperparams(self):
        self.hyperparams = None

    def get_hpo_wrapper(self):
        return getattr(self, "hpo_wrapper", None)


class NasBench201SearchSpace(torch.nn.Module):
    OPTIMIZER_SCOPE = ["stage_1", "stage_2", "stage_3"]
    QUERYABLE = True

    def __init__(self, n_classes=10, in_channels=3):
        super().__init__()
        self.num_classes, self.op_indices, self.instantiate_model = n_classes, None, True

    def query(self, metric, dataset, path=None, epoch=-1, full_lc=False, dataset_api=None):
        i = self.get_op_indices()
        ops = [OPS[i[k]] for k in (0, 1, 3, 2, 4, 5)]
        text = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*ops)
        record = dataset_api["nb201_data"][text]
        if metric is Metric.RAW:
            return record
        found = record["cifar10-valid" if dataset == "cifar10" else dataset]
        if metric is Metric.TRAIN_TIME:
            return found["cost_info"]["train_time"]
        return found["train_acc1es" if metric is Metric.TRAIN_ACCURACY else "eval_acc1es"][epoch]

    def get_op_indices(self):
        if self.op_indices is None:
            raise AttributeError("no operations")
        return self.op_indices

    def set_op_indices(self, op_indices):
        assert not self.instantiate_model or self.op_indices is None, "write once"
        self.op_indices = op_indices

    def get_hash(self):
        return tuple(self.get_op_indices())

    def get_type(self):
        return "nasbench201"

    def get_nbhd(self, dataset_api=None):
        raise NotImplementedError

    def sample_random_architecture(self, dataset_api=None, load_labeled=False):
        self.set_op_indices(np.random.randint(5, size=6).tolist())

    def clone(self):
        return copy.deepcopy(self)


class RandomSearch(MetaOptimizer):
    using_step_function = False

    def __init__(self, config):
        self.dataset, self.found = config.dataset, []

    def adapt_search_space(self, search_space, scope=None, dataset_api=None):
        self.space, self.api = search_space, dataset_api

    def new_epoch(self, epoch):
        arch = self.space.clone()
        arch.sample_random_architecture(dataset_api=self.api)
        self.found.append((arch.query(Metric.VAL_ACCURACY, self.dataset, dataset_api=self.api), arch))

    def train_statistics(self, report_incumbent=True):
        return (0.0,) * 4

    def get_final_architecture(self):
        return max(self.found, key=lambda pair: pair[0])[1]

    def get_op_optimizer(self): ...

    def get_checkpointables(self):
        return {"model": torch.nn.ModuleList()}


class Trainer:
    """The calls that NASLib's Trainer makes, in its order, and its checkpoints' treatment of tensors."""

    def __init__(self, optimizer, config, lightweight_output=False):
        self.optimizer, self.config = optimizer, config
        optimizer.get_model_size()
        self.search_trajectory = AttrDict(train_acc=[], valid_acc=[], test_acc=[], train_time=[])

    def search(self, resume_from="", summary_writer=None, after_epoch=None, report_incumbent=True):
        np.random.seed(self.config.search.seed)
        torch.manual_seed(self.config.search.seed)
        self.optimizer.before_training()
        assert not self.optimizer.using_step_function
        for e in range(self._restore(resume_from), self.config.search.epochs):
            self.optimizer.new_epoch(e)
            values = self.optimizer.train_statistics(report_incumbent)
            for key, value in zip(("train_acc", "valid_acc", "test_acc", "train_time"), values, strict=True):
                self.search_trajectory[key].append(value)
            if (e + 1) % self.config.search.checkpoint_freq == 0:
                self._save(f"model_{e:07d}.pth", e)
            if e + 1 == self.config.search.epochs:
                self._save("model_final.pth", e)
            self.optimizer.test_statistics()
            Path(self.config.save, "errors.json").write_text(json.dumps(self.search_trajectory))
            if after_epoch is not None:
                after_epoch(e)
        self.optimizer.after_training()

    def evaluate(
        self, retrain=True, search_model="", resume_from="", best_arch=None, dataset_api=None, metric=None
    ):
        if not best_arch:
            self._restore(search_model or f"{self.config.save}/search/model_final.pth")
            best_arch = self.optimizer.get_final_architecture()
        return best_arch.query(
            metric=metric or Metric.TEST_ACCURACY, dataset=self.config.dataset, dataset_api=dataset_api
        )

    def _save(self, name, epoch):
        model = self.optimizer.get_checkpointables()["model"]
        torch.save({"model": model.state_dict(), "iteration": epoch}, Path(self.config.save, "search", name))

    def _restore(self, path):
        model = self.optimizer.get_checkpointables()["model"]
        if not path:
            return 0
        checkpoint = torch.load(path, weights_only=True)
        mine, kept = model.state_dict(), checkpoint["model"]
        for key in [key for key in kept if key in mine and mine[key].shape != kept[key].shape]:
            del kept[key]
        model.load_state_dict(kept, strict=False)
        return checkpoint["iteration"] + 1


def count_parameters_in_MB(model):  # noqa: N802
    return 0.0


def set_seed(seed):
    np.random.seed(seed)
    random.seed(seed)
    torch.manual_seed(seed)


@contextmanager
def installed() -> Iterator[None]:
    """Importable as NASLib, inside."""
    names = ("Bananas", "DARTSOptimizer", "GDASOptimizer", "DrNASOptimizer", "LocalSearch", "Npenas")
    optimizers = {name: type(name, (), {}) for name in (*names, "RegularizedEvolution")}
    modules: dict[str, dict[str, Any]] = {
        "naslib": {},
        "naslib.defaults": {},
        "naslib.defaults.predictor_evaluator": {"PredictorEvaluator": SimpleNamespace},
        "naslib.defaults.trainer": {"Trainer": Trainer},
        "naslib.optimizers": {**optimizers, "RandomSearch": RandomSearch},
        "naslib.optimizers.core": {},
        "naslib.optimizers.core.metaclasses": {"MetaOptimizer": MetaOptimizer},
        "naslib.predictors": {},
        "naslib.predictors.predictor": {"Predictor": Predictor},
        "naslib.search_spaces": {"NasBench201SearchSpace": NasBench201SearchSpace},
        "naslib.search_spaces.core": {},
        "naslib.search_spaces.core.query_metrics": {"Metric": Metric},
        "naslib.utils": {
            "AttrDict": AttrDict,
            "count_parameters_in_MB": count_parameters_in_MB,
            "set_seed": set_seed,
        },
    }
    for name, content in modules.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        module.__path__ = []
        vars(module).update(content)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "naslib"]:
            del sys.modules[name]
        for name in [name for name in sys.modules if name.startswith("metad2a_plugin.adapters.") and "naslib" in name]:
            del sys.modules[name]
