"""MetaD2A's meta-performance predictor (ICLR 2021, Sec. 3.3), as batched tensor code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.nn.dag import DagEncoder, Edges
from metad2a_plugin.nn.set_transformer import SetEncoder
from metad2a_plugin.plugins.predictor import Prediction
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.spaces.nasbench201.cell import EDGES
from metad2a_plugin.utils.last_use import LastUse
from metad2a_plugin.utils.schema import SchemaError
from metad2a_plugin.utils.tensors import Shape, finite, same_shapes, shapes_of

HEADS = 4
"""Attention heads; the tensors do not tell."""
_WIDEST = 2**14
_BLOCK = 256  # graphs scored at a time, so that the hidden layer of [draws, graphs] stays small


class PaperPredictor(nn.Module):
    """Set code and graph code, joined and mapped to one score; the paper's dimensions are the defaults.

    A score is on the scale it was trained on. The release's is the z-scored accuracy divided by 100:
    ``percent = mean + 100 * std * score`` (`release.ACCURACY_MEAN`, `release.ACCURACY_STD`).

    Args:
        edges, num_types, feature_dim, latent, heads: as in `PaperGenerator`.
        hidden: width of a vertex's state and of the head.
    """

    def __init__(
        self,
        edges: Edges = EDGES,
        num_types: int = 7,
        *,
        feature_dim: int = 512,
        hidden: int = 512,
        latent: int = 56,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.set_encoder = SetEncoder(feature_dim, latent, heads)
        self.graph_encoder = DagEncoder(edges, num_types, hidden, latent)
        self.fc = nn.Linear(2 * latent, hidden)
        self.out = nn.Linear(hidden, 1)

    @classmethod
    def of_space(cls, space: SearchSpace, **sizes: int) -> PaperPredictor:
        """For the graphs of a search space; `sizes` are those of the class."""
        return cls(space.edges, len(space.vertex_types), **sizes)

    def graph_code(self, vertices: torch.Tensor) -> torch.Tensor:
        """Codes ``[n, latent]`` of architectures, int64 ``[n, vertices]``."""
        return self.graph_encoder(vertices)

    def head(self, set_code: torch.Tensor, graph_code: torch.Tensor) -> torch.Tensor:
        """Scores ``[...]`` of codes ``[..., latent]``, which broadcast: ``head(s[:, None], g)`` is every pair."""
        of_set, of_graph = self.fc.weight.chunk(2, dim=1)
        joined = F.linear(set_code, of_set) + F.linear(graph_code, of_graph, self.fc.bias)
        return self.out(joined.tanh()).squeeze(-1)

    def forward(self, sets: torch.Tensor, vertices: torch.Tensor) -> torch.Tensor:
        """Scores ``[b]`` of architectures, int64 ``[b, vertices]``, each on its own set ``[b, c, i, d]``."""
        return self.head(self.set_encoder(sets), self.graph_code(vertices))

    def score(self, sets: torch.Tensor, vertices: torch.Tensor) -> torch.Tensor:
        """Scores ``[draws, n]`` of every architecture ``[n, vertices]`` on every set ``[draws, c, i, d]``."""
        return self.score_codes(self.set_encoder(sets), vertices)

    def score_codes(self, codes: torch.Tensor, vertices: torch.Tensor) -> torch.Tensor:
        """`score` from the codes of the sets, ``[draws, latent]``."""
        blocks = [self.head(codes[:, None], block) for block in self.graph_code(vertices).split(_BLOCK)]
        return torch.cat(blocks, dim=1)


@dataclass(frozen=True)
class PaperAccuracy:
    """A trained `PaperPredictor` with the scale of its scores, as a checkpoint holds it.

    Attributes:
        network: the predictor, in evaluation mode.
        center, scale: ``percent = center + scale * score``.
        noise: standard deviation of a measured accuracy around a prediction, percent.
    """

    network: PaperPredictor
    center: float
    scale: float
    noise: float

    knows_budgets: ClassVar[bool] = False
    DRAWS: ClassVar[int] = 10
    """Image sets whose scores are averaged, as in the release."""
    _coded: LastUse[Task, torch.Tensor] = field(default_factory=LastUse, init=False, repr=False, compare=False)

    @property
    def feature_dim(self) -> int:
        return self.network.set_encoder.feature_dim

    @torch.inference_mode()
    def predict_task(self, task: Task | None, vertices: torch.Tensor) -> Prediction:
        """Accuracies of encoded architectures, int64 ``[n, vertices]``.

        Raises:
            ConfigError: `task` is None; the paper's predictor cannot do without a dataset.
        """
        if task is None:
            raise ConfigError("the paper's predictor needs a dataset; give one, or a model of the default recipe")
        device = self.network.out.weight.device
        codes = self._coded.get(task, lambda: self.network.set_encoder(task.draw(self.DRAWS).to(device)))
        scores = self.network.score_codes(codes, vertices.to(device))
        percent = (self.center + self.scale * scores).cpu()
        return Prediction(percent.mean(0), (percent.var(0) + self.noise**2).sqrt(), percent=True)

    def distance(self, task: Task) -> None:
        """Not known for this model."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        weights = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        return weights | {"scale": torch.tensor([self.center, self.scale, self.noise])}

    @classmethod
    def from_state_dict(cls, state: dict[str, torch.Tensor], space: SearchSpace) -> PaperAccuracy:
        """Raises `SchemaError` when tensors are missing, unknown, of another shape, or hold no numbers."""
        network = _build(_sizes({name: tuple(tensor.shape) for name, tensor in state.items()}, space), space)
        for name, tensor in state.items():
            finite(name, tensor, least=-1e6, most=1e6)
        network.load_state_dict({name.removeprefix("network."): t for name, t in state.items() if name != "scale"})
        center, scale, noise = state["scale"].tolist()
        if scale <= 0 or noise < 0:
            raise SchemaError(f"'scale' must hold a center, a positive scale and a noise, got {[center, scale, noise]}")
        return cls(network.eval(), center, scale, noise)

    def to(self, device: str | torch.device) -> PaperAccuracy:
        return replace(self, network=self.network.to(device))


def _build(sizes: Mapping[str, int], space: SearchSpace) -> PaperPredictor:
    return PaperPredictor.of_space(space, heads=HEADS, **sizes)


def _sizes(shapes: Mapping[str, Shape], space: SearchSpace) -> dict[str, int]:
    """The sizes that they say; raises `SchemaError` for shapes of another model, and builds nothing."""
    axes = {"set_encoder.images.0.fc_q.weight": 2, "fc.weight": 2}
    found = [shapes.get(f"network.{name}", ()) for name in axes]
    if [len(shape) for shape in found] != [2, 2] or not all(0 < n <= _WIDEST for shape in found for n in shape):
        raise SchemaError("it has not the matrices of the paper's predictor")
    (latent, feature_dim), (hidden, _) = found
    sizes = {"feature_dim": feature_dim, "hidden": hidden, "latent": latent}
    if latent % HEADS:
        raise SchemaError(f"a latent width of {latent} does not divide into {HEADS} heads")
    expected = {f"network.{name}": shape for name, shape in shapes_of(lambda: _build(sizes, space)).items()}
    same_shapes(shapes, expected | {"scale": (3,)})
    return sizes
