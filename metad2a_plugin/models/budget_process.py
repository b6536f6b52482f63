"""The Gaussian processes of `BudgetModel`: the trainings that it keeps, and their posterior in one context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from metad2a_plugin.errors import CheckpointError
from metad2a_plugin.models.budget_kernel import Contexts, Hyper, Networks, covariance, marginal, noise, own, shared


@dataclass(frozen=True, eq=False)
class Head:
    """One process: its variances and the trainings that it knows.

    Attributes:
        hyper: variances.
        rows: which trainings, int64 ``[n]``.
        target: standardised by nothing but `mean`, float64 ``[n]``.
        noise: variance known of each target, float64 ``[n]``.
        mean: of the targets, ``[1]``.
        scale: what the standard deviations are multiplied by, found on image sets left out; ``[1]``.
    """

    hyper: Hyper
    rows: torch.Tensor
    target: torch.Tensor
    noise: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor

    def state(self) -> dict[str, torch.Tensor]:
        plain = {name: getattr(self, name) for name in ("rows", "target", "noise", "mean", "scale")}
        return plain | {f"hyper.{name}": value for name, value in self.hyper.state().items()}

    @classmethod
    def of(cls, state: Mapping[str, torch.Tensor]) -> Head:
        values = {name: state[name].double() for name in ("target", "noise", "mean", "scale")}
        hyper = Hyper(**{name: state[f"hyper.{name}"].double() for name in Hyper.names()})
        return cls(hyper, state["rows"].long(), **values)


@dataclass(frozen=True, eq=False)
class Evidence:
    """The trainings that a model keeps.

    Attributes:
        contexts: theirs, each once.
        context: of each training, int64 ``[n]``.
        networks: their architectures.
        places: of these in the space (`SearchSpace.places`), int64 ``[n]``.
    """

    contexts: Contexts
    context: torch.Tensor
    networks: Networks
    places: torch.Tensor


class Fitted:
    """A head's posterior.

    Args:
        head: targets and variances.
        evidence: trainings.
    """

    def __init__(self, head: Head, evidence: Evidence) -> None:
        self.head = head
        index = evidence.context[head.rows]
        used, self.index = index.unique(return_inverse=True)
        self.contexts, self.networks = evidence.contexts[used], evidence.networks[head.rows]
        # In place, and by columns so that it is: a further copy would be of hundreds of megabytes.
        self.factor = marginal(head.hyper, self.contexts, self.networks, self.index, head.noise).T
        failed = torch.zeros((), dtype=torch.int32)
        torch.linalg.cholesky_ex(self.factor, out=(self.factor, failed))
        if failed:
            raise CheckpointError("a process of the predictor of budgets has no covariance: its variances are damaged")
        self.weight = torch.cholesky_solve((head.target - head.mean)[:, None], self.factor)[:, 0]

    def posterior(self, context: Contexts, networks: Networks) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance of what networks reach in one context, ``[n]`` each, without the noise of a seed."""
        features, cross = self._linear(context, networks)
        mean = self.head.mean + features @ (cross @ self.weight)
        if len(features) < len(cross):
            whitened = torch.linalg.solve_triangular(self.factor, (features @ cross).T, upper=False)
            explained = whitened.square().sum(0)
        else:
            whitened = torch.linalg.solve_triangular(self.factor, cross.T, upper=False)
            explained = ((features @ (whitened.T @ whitened)) * features).sum(1)
        return mean, (self._prior(context, networks) - explained).clamp(min=1e-6)

    def mean(self, context: Contexts, networks: Networks) -> torch.Tensor:
        """That of `posterior`."""
        features, cross = self._linear(context, networks)
        return self.head.mean + features @ (cross @ self.weight)

    def _linear(self, context: Contexts, networks: Networks) -> tuple[torch.Tensor, torch.Tensor]:
        """Features of networks ``[n, k]``, and covariances of their effects with the trainings, ``[k, trainings]``.

        Effects of an architecture are linear in its features: so all architectures share one small system.
        """
        between, index = shared(self.head.hyper, context, self.contexts), self.index
        features = torch.cat([torch.ones(len(networks), 1).double(), networks.descriptors, networks.columns], dim=1)
        parts = [
            between.context[:, index],
            between.descriptors[:, index] * self.networks.descriptors.T,
            between.columns[:, 0, index] * self.networks.columns.T,
        ]
        return features, torch.cat(parts)

    def of_each(self, contexts: Contexts, index: torch.Tensor, networks: Networks) -> tuple[torch.Tensor, torch.Tensor]:
        """`posterior` of networks in a context each, whose numbers are `index`, int64 ``[n]``."""
        hyper = self.head.hyper
        between = shared(hyper, contexts, self.contexts)
        cross = covariance(hyper, between, networks, self.networks, index, self.index)
        whitened = torch.linalg.solve_triangular(self.factor, cross.T, upper=False)
        variance = self._prior(contexts[index], networks) - whitened.square().sum(0)
        return self.head.mean + cross @ self.weight, variance.clamp(min=1e-6)

    def _prior(self, contexts: Contexts, networks: Networks) -> torch.Tensor:
        """Variance of networks in a context each, or all in one, ``[n]``."""
        alone, descriptors, columns = own(self.head.hyper, contexts)
        prior = alone + descriptors * networks.descriptors.square().sum(1)
        return prior + (networks.columns.square() * columns).sum(1) + (2 * self.head.hyper.architecture).exp()

    def draw_noise(self, context: Contexts) -> torch.Tensor:
        return noise(self.head.hyper, context)
