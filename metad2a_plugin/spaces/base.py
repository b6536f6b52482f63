"""The `SearchSpace` interface: what strategies, predictors and hosts speak about."""

from __future__ import annotations

import inspect
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, wraps
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.spaces import notations
from metad2a_plugin.spaces.architecture import Architecture as Architecture
from metad2a_plugin.spaces.architecture import Notation as Notation
from metad2a_plugin.spaces.given import check_size, of_classes, of_several
from metad2a_plugin.utils.lazy import torch

if TYPE_CHECKING:
    import networkx as nx
    from torch import nn

    from metad2a_plugin.nn.relus import Visit


Architectures: TypeAlias = "Sequence[Architecture] | torch.Tensor"
"""Several of one space, or the same as `SearchSpace.encode` gives them, int64 ``[n, num_vertices]``."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a network costs, counted as its space's benchmark counts.

    Attributes:
        params: trainable parameters, in millions.
        flops: multiply-accumulates of one forward pass (each counted once), in millions.
    """

    params: float
    flops: float


class Descriptors(NamedTuple):
    """What linear models tell architectures by, float32 ``[n, k]`` each.

    Attributes:
        structure: a few numbers, each with a meaning of its own; a dataset may change what they are worth.
        details: many of one kind, such as one-hot choices.
    """

    structure: torch.Tensor
    details: torch.Tensor


class SearchSpace(ABC):
    """A set of architectures, with everything a strategy or a predictor asks about them.

    Subclasses are stateless and cheap to create; torch is imported by the methods that need it. Every method refuses
    what is no architecture of the space with `ArchitectureError`, which says what is wrong and what it may be; it
    refuses an option that is unknown or out of range, and to list a space that is too large, with `ConfigError`.
    """

    name: str
    """Registry name."""
    size: int
    """Number of architectures (encodings, not isomorphism classes)."""
    num_vertices: int
    """Vertices of an encoded graph, input and output included."""
    vertex_types: tuple[str, ...]
    """Name of each vertex type; `encode` gives indices into it. The first two are the input and the output."""
    edges: tuple[tuple[int, int], ...]
    """Edges (from, to) of the graph that models read, the same for every architecture; ``from < to``."""
    type_parts: tuple[tuple[int, ...], ...] = ()
    """What each vertex type consists of, one number a part, such as depth, kernel and expand ratio: models that are
    linear in the parts learn from few networks. Empty where types have no parts."""
    input_size: int = 32
    """Side of the square images, in pixels, that costs are counted for and networks used on unless said otherwise."""
    sizes: Mapping[str, tuple[Any, ...]] = {}
    """Options of `build` that make networks larger, and values of each worth trying, the smallest first."""
    num_classes: int = 10
    """Classes that costs are counted for unless said otherwise."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if isinstance(own := vars(cls).get("parse"), FunctionType):

            @wraps(own)
            def parse(self: SearchSpace, text: Any) -> Architecture:
                return notations.read(self, partial(own, self), text)

            cls.parse = parse  # type: ignore[method-assign]
        for name in ("encode", "decode"):
            if isinstance(method := vars(cls).get(name), FunctionType):
                setattr(cls, name, of_several(method))
        for name, place in (("build", 2), ("supernet", 1)):
            if isinstance(method := vars(cls).get(name), FunctionType):
                setattr(cls, name, of_classes(method, place))

    # -- points ------------------------------------------------------------------------------
    @abstractmethod
    def sample(self, rng: random.Random) -> Architecture:
        """Draw one architecture uniformly."""

    def sample_balanced(self, rng: random.Random) -> Architecture:
        """Draw one architecture, each option of each decision as likely as the others.

        Differs from `sample` where one option leaves more decisions to make than another.
        """
        return self.sample(rng)

    def mutate(self, architecture: Architecture, rng: random.Random) -> Architecture:
        """Draw one of `neighbors` uniformly."""
        return rng.choice(self.neighbors(architecture))

    def crossover(self, first: Architecture, second: Architecture, rng: random.Random) -> Architecture:
        """Take each decision from either parent, with equal chance."""
        pairs = zip(self.validate(first).choices, self.validate(second).choices, strict=True)
        return Architecture(self.name, tuple(rng.choice(pair) for pair in pairs))

    def resample(self, architecture: Architecture, probability: float, rng: random.Random) -> Architecture:
        """Draw each decision anew with the same probability; may return its argument."""
        other = self.sample(rng).choices
        pairs = zip(self.validate(architecture).choices, other, strict=True)
        return Architecture(self.name, tuple(new if rng.random() < probability else old for old, new in pairs))

    @abstractmethod
    def neighbors(self, architecture: Architecture) -> list[Architecture]:
        """All architectures that differ in one decision."""

    @abstractmethod
    def enumerate(self) -> Iterator[Architecture]:
        """Every architecture in the space's official order."""

    def validate(self, architecture: Architecture) -> Architecture:
        """Return `architecture` if it is of this space."""
        self.encode([architecture])
        return architecture

    # -- text and tensors --------------------------------------------------------------------
    @abstractmethod
    def parse(self, text: Any) -> Architecture:
        """Read a network, however it is given: by its own text, another notation, or a file of one.

        A subclass reads its own text, a string. Around that, this class reads an `Architecture`, what Python or JSON
        print of a text, the values of `from_values` as they are or printed, and files that hold any of these, by their
        path.
        """

    def from_values(self, values: Any) -> Architecture | None:
        """Read a network that is written as plain values: those of JSON, such as a dict of lists, or a number.

        Tuples and arrays come as lists. None says that the space has no such notation: unless overridden, it has none.
        """
        return None

    @abstractmethod
    def format(self, architecture: Architecture) -> str:
        """Write the field's own string; `parse` reads it back."""

    @abstractmethod
    def encode(self, architectures: Architectures) -> torch.Tensor:
        """Vertex types, int64 ``[n, num_vertices]``; what is encoded already is checked and returned."""

    @abstractmethod
    def decode(self, architectures: Architectures) -> list[Architecture]:
        """Inverse of `encode`; what is no tensor is checked and returned as a list."""

    # -- many encoded architectures at once; override what the space can do as tensor code -----
    def all_vertices(self) -> torch.Tensor:
        """`encode` of every architecture, int64 ``[size, num_vertices]``, in `enumerate` order."""
        return self.encode(list(self.enumerate()))

    def simplify(self, vertices: torch.Tensor) -> torch.Tensor:
        """The cheapest architectures that compute the same as `vertices`, int64 ``[n, num_vertices]`` both."""
        return vertices

    def canonical_ids(self, vertices: torch.Tensor) -> torch.Tensor:
        """Numbers that are equal where `canonical` is equal, int64 ``[n]``; comparable within one call only."""
        numbers: dict[str, int] = {}
        keys = [self.canonical(a) for a in self.decode(vertices)]
        return torch.tensor([numbers.setdefault(key, len(numbers)) for key in keys], dtype=torch.int64)

    def dead_mask(self, vertices: torch.Tensor) -> torch.Tensor:
        """`is_dead` of many architectures, bool ``[n]``."""
        return torch.tensor([self.is_dead(a) for a in self.decode(vertices)], dtype=torch.bool)

    def costs(self, vertices: torch.Tensor, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """`cost` of many architectures: params and FLOPs in millions, float64 ``[n]`` each."""
        costs = [self.cost(a, **options) for a in self.decode(vertices)]
        params, flops = ([getattr(c, what) for c in costs] for what in ("params", "flops"))
        return torch.tensor(params, dtype=torch.float64), torch.tensor(flops, dtype=torch.float64)

    def vertex_costs(self, **options: Any) -> torch.Tensor | None:
        """Costs of each type at each vertex, of which those of a network are the sum, float64 ``[2, vertices, types]``.

        Parameters and FLOPs in millions, with `options` as in `cost`; what all networks have counts for the input. None
        where costs are no such sum: then a search cannot steer towards a limit, only reject what is beyond it.
        """
        return None

    def describe(self, vertices: torch.Tensor) -> Descriptors:
        """Descriptors of many architectures, on the CPU: costs and counts of types; each vertex's type.

        Args:
            vertices: int64 ``[n, num_vertices]``.
        """
        vertices = vertices.cpu()
        types = torch.nn.functional.one_hot(vertices[:, 1:-1] - 2, len(self.vertex_types) - 2).float()
        costs = torch.stack(self.costs(vertices), dim=1)
        return Descriptors(torch.cat([costs.float(), costs.log1p().float(), types.sum(1)], dim=1), types.flatten(1))

    def places(self, vertices: torch.Tensor) -> torch.Tensor:
        """Place of each row among all of `all_vertices`, sorted lexicographically, int64 ``[n]``."""
        listed = self.all_vertices().to(vertices.device)
        return torch.cat([listed, vertices]).unique(dim=0, return_inverse=True)[1][len(listed) :]

    def type_mask(self, prefix: torch.Tensor) -> torch.Tensor:
        """Types that the next inner vertex may have, bool ``[n, types]``, so that whatever is drawn is an architecture.

        Types drawn one vertex after the other, each among those allowed after the ones before, are what `encode` gives
        for some architecture, and every architecture can be drawn. Any inner type, unless a space says otherwise.

        Args:
            prefix: types of the first vertices, drawn likewise, int64 ``[n, v]`` with ``1 <= v <= num_vertices - 2``.
        """
        mask = torch.ones(len(prefix), len(self.vertex_types), dtype=torch.bool, device=prefix.device)
        mask[:, :2] = False
        return mask

    # -- decisions by name, for hosts that search over named choices -------------------------
    @property
    def decisions(self) -> Mapping[str, tuple[str | int, ...]]:
        """Options of each decision by its name, in an order in which they can be made; a `ChoiceSpace` has them.

        Raises:
            ConfigError: the decisions of the space have no names.
        """
        raise ConfigError(
            f"the decisions of the space {self.name!r} have no names; a space that overrides decisions, decide and "
            "decided can be searched by named choices"
        )

    def decide(self, choose: Callable[[str], Any]) -> Architecture:
        """The architecture of what `choose` answers to the name of each decision; it need not be asked for all.

        Raises:
            ArchitectureError: an answer is none of the decision's options.
            ConfigError: as of `decisions`.
        """
        raise ConfigError(f"the decisions of the space {self.name!r} have no names")

    def decided(self, architecture: Architecture) -> dict[str, str | int]:
        """Inverse of `decide`: the options taken, by the names of the decisions that the architecture makes."""
        raise ConfigError(f"the decisions of the space {self.name!r} have no names")

    # -- graphs and networks -----------------------------------------------------------------
    def canonical(self, architecture: Architecture) -> str:
        """A key that is equal for two architectures exactly when their networks are; unless overridden, the text."""
        return self.format(architecture)

    def is_dead(self, architecture: Architecture) -> bool:
        """True when no operation lets the input reach the output; unless overridden, none is dead."""
        self.validate(architecture)
        return False

    @abstractmethod
    def build(self, architecture: Architecture, num_classes: int, *args: Any, **options: Any) -> nn.Module:
        """The PyTorch network; input ``[batch, 3, height, width]``, output ``[batch, num_classes]``.

        A space spells its network options out in the signature, each with a default; see `check_options`.
        """

    def to_networkx(
        self, architecture: Architecture, edges: Sequence[tuple[int, int]] | None = None
    ) -> nx.DiGraph[int]:
        """The vertices of `encode`, each with its type's name as ``op``, joined by `edges`, by default the space's."""
        import networkx as nx

        [types] = self.encode([architecture]).tolist()
        graph: nx.DiGraph[int] = nx.DiGraph(name=self.format(architecture))
        graph.add_nodes_from((v, {"op": self.vertex_types[t]}) for v, t in enumerate(types))
        graph.add_edges_from(self.edges if edges is None else edges)
        return graph

    def check_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of `build` besides the number of classes, as they were given.

        Known are those that the signature of `build` names, with values of the type of their default; a space may check
        more.

        Raises:
            ConfigError: the space has no such option; names those that it has. Or a value is of another type or out of
                range.
        """
        named = inspect.signature(self.build).parameters.values()
        known = {p.name: p.default for p in named if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        known = dict(list(known.items())[2:])
        anything = any(p.kind is p.VAR_KEYWORD for p in named)
        for name, value in options.items():
            if name not in known and not anything:
                has = f"those of the space {self.name!r} are {', '.join(known)}" if known else "the space has none"
                raise ConfigError(f"unknown option {name!r} of the network; {has}")
            kind = type(known.get(name))
            allowed = (int, float) if kind is float else (kind,)
            if kind in (bool, int, float, str) and type(value) not in allowed:
                raise ConfigError(f"{name} must be of type {kind.__name__}, such as {known[name]!r}, got {said(value)}")
        return dict(options)

    def all_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Those of `build`, checked, in the order of its signature; what is not given has its default."""
        named = list(inspect.signature(self.build).parameters.values())[2:]
        return {p.name: p.default for p in named if p.default is not p.empty} | self.check_options(options)

    def cost_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Checked options of `cost`: `num_classes` and `input_size`, or the space's own, and those of `build`."""
        network = dict(options)
        sizes = {name: network.pop(name, getattr(self, name)) for name in ("num_classes", "input_size")}
        for name, value in sizes.items():
            check_size(name, value)
        return sizes | self.check_options(network)

    def cost(self, architecture: Architecture, **options: Any) -> Cost:
        """Parameters and FLOPs of the built network; unless overridden, as torch counts them (`nn.counting`).

        Args:
            architecture: what to build.
            **options: `num_classes` and `input_size` in pixels, by default the space's own, and those of `build`.
        """
        from metad2a_plugin.nn.counting import count_cost

        network = self.cost_options(options)
        key = (self.validate(architecture), repr(sorted(network.items())))
        if key not in self._counted:
            size = network.pop("input_size")
            try:
                params, macs = count_cost(lambda: self.build(architecture, **network), size)
            except (RuntimeError, TypeError, ValueError) as error:
                text = ", ".join(f"{name}={value!r}" for name, value in network.items())
                raise ConfigError(f"no network of the space {self.name!r} can be built with {text}: {error}") from error
            self._counted[key] = Cost(params / 1e6, macs / 1e6)
        return self._counted[key]

    @cached_property
    def _counted(self) -> dict[tuple[Architecture, str], Cost]:
        """What was counted already: a search asks for the costs of one architecture several times."""
        return {}

    def host_config(self, architecture: Architecture, input_size: int) -> Mapping[str, Any] | None:
        """The architecture in the form that the system it comes from reads, as plain JSON values, if there is one.

        Args:
            architecture: what to write.
            input_size: side of the square images, in pixels.
        """
        return None

    def visit_relus(self, network: nn.Module, images: torch.Tensor, visit: Visit) -> None:
        """Show `visit` what each ReLU of a network of `build` is given; see `nn.relus.visit_relus`.

        Override it where a space can do so without computing all of the network.
        """
        from metad2a_plugin.nn.relus import visit_relus

        visit_relus(network, images, visit)


def random_live(space: SearchSpace, rng: random.Random) -> Architecture:
    """Draw one architecture that can learn."""
    while space.is_dead(cell := space.sample(rng)):
        pass
    return cell
