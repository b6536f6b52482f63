"""scikit-learn: a network within a time as a classifier of images, and the predictor as a regressor of architectures.

::

    from metad2a_plugin.adapters.sklearn import ArchitectureRegressor, MetaD2AClassifier

    MetaD2AClassifier(time="5m").fit(images, labels).score(others, their_labels)
    ArchitectureRegressor(dataset="photos/").fit(cells, accuracies).predict(more_cells)

Both clone, pickle, and stand in a `Pipeline`, a `GridSearchCV` or wherever else scikit-learn takes an estimator. Which
of its own checks hold is in ``docs/sklearn.md``.
"""

# ruff: noqa: E402
from __future__ import annotations

from packaging.version import Version

from metad2a_plugin.errors import HostError, require
from metad2a_plugin.utils.installed import version_of

require("sklearn", "the scikit-learn adapter", "sklearn")
if Version(version_of("scikit-learn")) < Version("1.6"):
    raise HostError(
        f"the scikit-learn adapter needs scikit-learn 1.6 or later, found {version_of('scikit-learn')}; install it: "
        "pip install 'metad2a-plugin[sklearn]'"
    )

from ._sklearn_classifier import MetaD2AClassifier
from ._sklearn_regressor import ArchitectureRegressor

__all__ = ["ArchitectureRegressor", "MetaD2AClassifier"]
