"""The MobileNetV3 space of Once-for-All: Cai et al., ICLR 2020, arXiv 1908.09791, section 3.

A network has five stages of two to four inverted residual layers; each layer has a kernel of 3, 5 or 7 pixels and
expands its input channels 3, 4 or 6 times. It is written ``k3e6-k5e3+...``: stages joined by ``+``, the layers of a
stage by ``-``. A layer beyond the depth of its stage is no part of an architecture: whatever is said of it is dropped
when it is read, so that equal networks are equal as `Architecture`, as text and as tensor.

Width and resolution are no decisions of the space. Both are options of `MobileNetV3Space.cost`, the width multiplier
also one of `MobileNetV3Space.build` (networks take images of any size), and OFA's configuration dict carries the
resolution as ``r``. OFA has published supernets of the width multipliers 1.0 and 1.2, trained on images of 128 to 224
pixels.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from metad2a_plugin.errors import ArchitectureError, ConfigError, said
from metad2a_plugin.spaces.base import Architecture, Architectures, Cost, Descriptors
from metad2a_plugin.spaces.interfaces import Drawable, Transferable
from metad2a_plugin.spaces.mobilenetv3 import named
from metad2a_plugin.spaces.mobilenetv3.cost import check_width, layer_counts, network_costs
from metad2a_plugin.spaces.mobilenetv3.encoding import (
    NAME,
    Decisions,
    decode_layers,
    encode_layers,
    layers_of,
    single_changes,
    used_slots,
    validated,
)
from metad2a_plugin.spaces.mobilenetv3.layout import (
    DEPTHS,
    EDGES,
    EXPANDS,
    KERNELS,
    KINDS,
    LAYERS,
    RESOLUTIONS,
    SLOTS,
    STAGES,
)
from metad2a_plugin.spaces.mobilenetv3.text import FORM, check_resolution, left_out, parse_stage, read_configuration
from metad2a_plugin.spaces.values import plain
from metad2a_plugin.utils.lazy import torch

if TYPE_CHECKING:
    from metad2a_plugin.spaces.mobilenetv3.supernet import MobileNetV3Supernet


class MobileNetV3Space(Transferable, Drawable):
    """The search space; `choices` are 20 indices into `KERNELS`, 20 into `EXPANDS` and 5 into `DEPTHS`.

    Layers are counted from the input, four to a stage; those beyond the depth of their stage have the choices 0.

    >>> space = MobileNetV3Space()
    >>> network = space.parse("k3e3-k5e4+k7e6-k3e3-k3e3+k3e3-k3e3+k3e3-k3e3+k3e3-k3e3-k3e3-k3e3")
    >>> space.to_config(network)["d"]
    [2, 3, 2, 2, 4]
    >>> space.cost(network)
    Cost(params=4.00424, flops=167.18184)
    >>> f"{space.size:.2e}"
    '2.18e+19'
    """

    name = NAME
    size = sum(KINDS**depth for depth in DEPTHS) ** STAGES
    num_vertices = SLOTS + 2
    vertex_types = ("input", "output", *(f"{d}-{k}-{e}" for d in DEPTHS for k in KERNELS for e in EXPANDS))
    edges = EDGES
    type_parts = ((0, 0, 0), (0, 0, 0), *product(range(len(DEPTHS)), range(len(KERNELS)), range(len(EXPANDS))))
    input_size = 224
    num_classes = 1000
    head = "classifier.linear"

    # -- points ------------------------------------------------------------------------------
    def sample(self, rng: random.Random) -> Architecture:
        """Draw one of the 2.18e19 different networks, each with the same probability.

        A stage of depth 4 can be filled in 6,561 ways and one of depth 2 in 81, so 89 of 100 stages drawn have
        depth 4; `sample_balanced` gives each depth the same probability.
        """
        depths = rng.choices(range(len(DEPTHS)), [KINDS**d for d in DEPTHS], k=STAGES)
        kernels, expands = ([rng.randrange(len(options)) for _ in range(SLOTS)] for options in (KERNELS, EXPANDS))
        return self._architecture(kernels, expands, depths)

    def sample_balanced(self, rng: random.Random) -> Architecture:
        """Draw one network as OFA does: kernels, expand ratios and depths all uniformly."""
        kernels, expands, depths = (rng.choices(range(3), k=k) for k in (SLOTS, SLOTS, STAGES))
        return self._architecture(kernels, expands, depths)

    def neighbors(self, architecture: Architecture) -> list[Architecture]:
        """All networks with another kernel or expand ratio in one layer, or one layer more or less ending a stage."""
        choices = self.validate(architecture).choices
        return [self._changed(choices, change) for change in single_changes(choices)]

    def crossover(self, first: Architecture, second: Architecture, rng: random.Random) -> Architecture:
        """Take each depth, kernel and expand ratio from either parent; a layer that one lacks is the other's."""
        parents = [Decisions.of(self.validate(parent).choices) for parent in (first, second)]
        used = [used_slots(parent.depths) for parent in parents]
        depths = [rng.choice(pair) for pair in zip(parents[0].depths, parents[1].depths, strict=True)]

        def mixed(options: Sequence[Sequence[int]]) -> list[int]:
            return [
                rng.choice([parent[i] for parent, has in zip(options, used, strict=True) if has[i]] or [0])
                for i in range(SLOTS)
            ]

        return self._architecture(mixed([p.kernels for p in parents]), mixed([p.expands for p in parents]), depths)

    def resample(self, architecture: Architecture, probability: float, rng: random.Random) -> Architecture:
        """Draw each layer and each depth anew with the same probability, every option alike, as OFA's evolution does.

        A layer that comes with a greater depth is drawn too.
        """
        old = Decisions.of(self.validate(architecture).choices)
        depths = [rng.randrange(len(DEPTHS)) if rng.random() < probability else depth for depth in old.depths]
        kernels, expands = list(old.kernels), list(old.expands)
        for i, there in enumerate(used_slots(old.depths)):
            if not there or rng.random() < probability:
                kernels[i], expands[i] = rng.randrange(len(KERNELS)), rng.randrange(len(EXPANDS))
        return self._architecture(kernels, expands, depths)

    def enumerate(self) -> Iterator[Architecture]:
        raise ConfigError(f"{self.name} has {self.size:.2e} networks, too many to list; draw some with sample()")

    def validate(self, architecture: Architecture) -> Architecture:
        return validated(architecture)

    # -- text and tensors --------------------------------------------------------------------
    def parse(self, text: Any) -> Architecture:
        """Read ``k3e6-k5e3+...``, the layers of five stages, or OFA's or NAT's configuration, also from a file.

        See `SearchSpace.parse`; a warning says what else a configuration asks for, such as another width.
        """
        stages = text.split("+")
        if stages == [""]:
            raise ArchitectureError(f"the architecture string is empty; expected the form {FORM}")
        if len(stages) != STAGES:
            raise ArchitectureError(
                f"expected {STAGES} stages joined by '+', got {len(stages)} in {text!r}; the form is {FORM}"
            )
        layers = [parse_stage(stage, number) for number, stage in enumerate(stages, 1)]
        padded = [layer for stage in layers for layer in (*stage, *[(0, 0)] * (LAYERS - len(stage)))]
        kernels, expands = zip(*padded, strict=True)
        return self._architecture(kernels, expands, [DEPTHS.index(len(stage)) for stage in layers])

    def from_values(self, values: Any) -> Architecture:
        """Read a configuration of OFA or NAT, a dict, without the resolution and the width that it may say."""
        if not isinstance(values, dict):
            raise ArchitectureError(
                f"expected a string of the form {FORM}, or a dict with ks, e and d; got {type(values).__name__}: "
                f"{said(values)}"
            )
        found = read_configuration(values)
        if message := left_out(found):
            warnings.warn(message, stacklevel=2)
        return self._architecture(found.kernels, found.expands, found.depths)

    def format(self, architecture: Architecture) -> str:
        return "+".join("-".join(f"k{k}e{e}" for k, e in stage) for stage in self.layers(architecture))

    def layers(self, architecture: Architecture) -> tuple[tuple[tuple[int, int], ...], ...]:
        """The (kernel, expand ratio) of each layer of each stage."""
        return layers_of(architecture)

    def from_config(self, config: Mapping[str, Any]) -> tuple[Architecture, int]:
        """Read OFA's configuration dict, or NAT's.

        Args:
            config: ``ks`` and ``e``, 20 values each, of which those beyond a stage's depth may be anything or left out
                of both; ``d``, 5 values; ``r``, the resolution in pixels or a list of it, which may be called
                ``image_size``, or be left out for 224. The width ``w`` or ``wid`` may be None or 1.

        Returns:
            The architecture, and the resolution.

        Raises:
            ArchitectureError: says which entry is wrong and what it may be.
        """
        if not isinstance(config, Mapping):
            raise ArchitectureError(f"expected a dict with ks, e, d and r, got {type(config).__name__}: {said(config)}")
        found = read_configuration(plain(config))
        if found.width != 1:
            raise ArchitectureError(
                f"wid must be None, got {said(found.width)}; the width is an option of build and cost"
            )
        return self._architecture(found.kernels, found.expands, found.depths), check_resolution(found.resolution)

    def to_config(self, architecture: Architecture, resolution: int = 224) -> dict[str, Any]:
        """OFA's configuration dict, with 3 for whatever is said of layers beyond the depth of their stage.

        Raises:
            ArchitectureError: the architecture is not of this space, or the resolution not one of `RESOLUTIONS`.
        """
        kernels, expands, depths = Decisions.of(self.validate(architecture).choices)
        return {
            "ks": [KERNELS[k] for k in kernels],
            "e": [EXPANDS[e] for e in expands],
            "d": [DEPTHS[d] for d in depths],
            "r": check_resolution(resolution),
        }

    def encode(self, architectures: Architectures) -> torch.Tensor:
        """Vertex types, int64 ``[n, 22]``: input, the layers of the five stages four by four, output.

        A layer's type says the depth of its stage, its kernel and its expand ratio; `vertex_types` is the order of the
        authors' release of MetaD2A.
        """
        if isinstance(architectures, torch.Tensor):
            decode_layers(architectures)  # refuses what is no network
            return architectures.long()
        rows = [self.validate(a).choices for a in architectures]
        choices = torch.tensor(rows, dtype=torch.int64).reshape(-1, 2 * SLOTS + STAGES)
        kernels, expands, depths = choices.split([SLOTS, SLOTS, STAGES], dim=1)
        return encode_layers(KINDS * depths.repeat_interleave(LAYERS, dim=1) + 3 * kernels + expands)

    def decode(self, architectures: Architectures) -> list[Architecture]:
        """Inverse of `encode`; what vertices say of layers beyond the depth of their stage is dropped."""
        if not isinstance(architectures, torch.Tensor):
            return [self.validate(a) for a in architectures]
        layers = decode_layers(architectures)
        depths, kernels, expands = layers[:, ::LAYERS] // KINDS, layers // 3 % 3, layers % 3
        return [Architecture(self.name, tuple(row)) for row in torch.cat([kernels, expands, depths], dim=1).tolist()]

    # -- many encoded networks at once -------------------------------------------------------
    def simplify(self, vertices: torch.Tensor) -> torch.Tensor:
        return encode_layers(decode_layers(vertices))

    def canonical_ids(self, vertices: torch.Tensor) -> torch.Tensor:
        return decode_layers(vertices).unique(dim=0, return_inverse=True)[1]

    def dead_mask(self, vertices: torch.Tensor) -> torch.Tensor:
        return decode_layers(vertices)[:, 0] < 0

    def costs(self, vertices: torch.Tensor, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return network_costs(decode_layers(vertices), **self.cost_options(options))

    def vertex_costs(self, **options: Any) -> torch.Tensor:
        fixed, table = layer_counts(**self.cost_options(options))
        costs = torch.zeros(2, self.num_vertices, len(self.vertex_types), dtype=torch.float64)
        costs[:, 0, 0] = torch.tensor(fixed)
        costs[:, 1:-1, 2:] = torch.tensor(table).movedim(2, 0)
        return costs / 1e6

    def describe(self, vertices: torch.Tensor) -> Descriptors:
        """Costs and means of stages ``[n, 25]``, and layers, depths and pairs of depths ``[n, 225]``."""
        from metad2a_plugin.spaces.mobilenetv3.descriptors import describe

        return Descriptors(*describe(vertices.cpu(), self.input_size))

    def type_mask(self, prefix: torch.Tensor) -> torch.Tensor:
        """Types that the next layer may have, bool ``[n, 29]``, for the vertices before it, int64 ``[n, v]``.

        A stage's first layer may have any; the others have its depth, and beyond that depth only the type that `encode`
        gives such layers: no network can be drawn in two forms.
        """
        first = (prefix.shape[1] - 1) // LAYERS * LAYERS + 1
        layer = prefix.shape[1] - first
        if layer == 0:
            return super().type_mask(prefix)
        depth = (prefix[:, first] - 2) // KINDS
        mask = torch.zeros(len(prefix), len(self.vertex_types), dtype=torch.bool, device=prefix.device)
        kinds = mask[:, 2:].unflatten(1, (len(DEPTHS), KINDS))  # a view
        row = torch.arange(len(prefix), device=prefix.device)
        kinds[row, depth, 0] = True
        kinds[row, depth, 1:] = (depth + DEPTHS[0] > layer)[:, None]
        return mask

    # -- decisions by name -------------------------------------------------------------------
    @property
    def decisions(self) -> Mapping[str, tuple[str | int, ...]]:
        """Of each stage a ``stage1/depth``, of its layers a ``stage1/layer1/kernel`` and a ``stage1/layer1/expand``."""
        return named.options()

    def decide(self, choose: Callable[[str], Any]) -> Architecture:
        """As of every space; of layers beyond the depth of their stage nothing is asked."""
        return self._architecture(*named.decide(choose))

    def decided(self, architecture: Architecture) -> dict[str, str | int]:
        return named.decided(self.layers(architecture))

    # -- graphs and networks -----------------------------------------------------------------
    def build(self, architecture: Architecture, num_classes: int, *, width: float = 1.0) -> torch.nn.Module:
        """The network, with OFA's names and shapes of weights; input ``[batch, 3, height, width]`` of any size.

        Its `load_state_dict` reads what the package ``ofa`` cuts from a supernet, in its present and its former naming.

        Args:
            architecture: the network.
            num_classes: outputs of the classifier; OFA's supernets have 1,000.
            width: multiplier of all channels.
        """
        from metad2a_plugin.spaces.mobilenetv3.network import MobileNetV3

        check_width(width)
        return MobileNetV3(self.layers(architecture), num_classes, width)

    def untrained_supernet(self, *, width: float = 1.0) -> MobileNetV3Supernet:
        from metad2a_plugin.spaces.mobilenetv3.supernet import MobileNetV3Supernet

        check_width(width)
        return MobileNetV3Supernet(1, width)

    def read_supernet(self, path: str | os.PathLike[str]) -> MobileNetV3Supernet:
        """As `load_supernet` of the module `supernet`: files of this package, and of OFA's layout."""
        from metad2a_plugin.spaces.mobilenetv3.supernet import load_supernet

        return load_supernet(path)

    def write_supernet(self, path: str | os.PathLike[str], supernet: torch.nn.Module) -> None:
        from metad2a_plugin.spaces.mobilenetv3.supernet import as_supernet, save_supernet

        save_supernet(path, as_supernet(supernet), torch.float16)

    def cut(
        self, supernet: torch.nn.Module, architecture: Architecture, *, width: float = 1.0
    ) -> dict[str, torch.Tensor]:
        from metad2a_plugin.spaces.mobilenetv3.supernet import as_supernet

        found = as_supernet(supernet)
        if found.width != width:
            raise ConfigError(
                f"the supernet's weights are of width {found.width:g}, not of {width:g}; give networks that width"
            )
        weights = found.weights(self.validate(architecture))
        return {name: value for name, value in weights.items() if not name.startswith(f"{self.head}.")}

    def check_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        check_width(options.get("width", 1.0))
        return super().check_options(options)

    def host_config(self, architecture: Architecture, input_size: int) -> Mapping[str, Any] | None:
        """`to_config`, where OFA's supernets were trained on images of that size."""
        return self.to_config(architecture, input_size) if input_size in RESOLUTIONS else None

    def cost(self, architecture: Architecture, **options: Any) -> Cost:
        """Parameters and FLOPs of the built network, equal to what the package ``ofa`` counts.

        Args:
            architecture: the network.
            **options: `num_classes` (1000), `input_size` in pixels (224), and `width`, the multiplier of all channels
                (1.0).
        """
        fixed, table = layer_counts(**self.cost_options(options))
        kernels, expands, depths = Decisions.of(self.validate(architecture).choices)
        types = [KINDS * depths[i // LAYERS] + 3 * kernels[i] + expands[i] for i in range(SLOTS)]
        layers = [counts[kind] for counts, kind in zip(table, types, strict=True)]
        params, macs = map(sum, zip(fixed, *layers, strict=True))
        return Cost(params / 1e6, macs / 1e6)

    def draw(self, architecture: Architecture, path: str | os.PathLike[str], title: str | None = None) -> None:
        from metad2a_plugin.spaces.drawing import draw_stages

        draw_stages(self.layers(architecture), LAYERS, path, title)

    # -- private -----------------------------------------------------------------------------
    def _architecture(self, kernels: Sequence[int], expands: Sequence[int], depths: Sequence[int]) -> Architecture:
        """With the choices 0 for layers beyond the depth of their stage."""
        used = used_slots(depths)
        kept = (option * has for options in (kernels, expands) for option, has in zip(options, used, strict=True))
        return Architecture(self.name, (*kept, *depths))

    def _changed(self, choices: tuple[int, ...], change: Mapping[int, int]) -> Architecture:
        changed = list(choices)
        for place, option in change.items():
            changed[place] = option
        return Architecture(self.name, tuple(changed))
