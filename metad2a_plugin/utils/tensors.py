"""Files of tensors, looked at before they are read: names, types and shapes stand in the header of a safetensors file.

What is built by what a file says is compared with its header first, so that nothing becomes larger than the file is.
"""

from __future__ import annotations

import hashlib
import math
import os
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from safetensors import SafetensorError, safe_open

from metad2a_plugin.errors import said
from metad2a_plugin.utils.lazy import torch
from metad2a_plugin.utils.schema import SchemaError, integer, list_of, mapping_of, parse_json, record, text

if TYPE_CHECKING:
    from torch import nn

FLOATS = ("F16", "BF16", "F32", "F64")
INTEGERS = ("I64",)
_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "F16": 2, "BF16": 2, "I32": 4, "F32": 4, "I64": 8, "F64": 8}
_LONGEST_HEADER = 4 * 2**20
_MOST_AXES = 8
_ENTRY = record(
    {
        "dtype": text(most=20),
        "shape": list_of(integer(0, 2**40), most=_MOST_AXES),
        "data_offsets": list_of(integer(0), 2, 2),
    },
    others=False,
)
_METADATA = mapping_of(text(most=_LONGEST_HEADER))
Shape = tuple[int, ...]


class Stored(NamedTuple):
    """A tensor in a file.

    Attributes:
        dtype: its type, in the names of safetensors, such as ``F32``.
        shape: its axes.
    """

    dtype: str
    shape: Shape


class TensorFile:
    """A safetensors file of which the header alone has been read, and checked against the file's size.

    Args:
        path: the file.

    Attributes:
        metadata: texts by name.
        stored: the tensors by name.

    Raises:
        OSError: it cannot be opened.
        SchemaError: it is no safetensors file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file() and self.path.exists():
            raise SchemaError("it is no regular file")
        with self.path.open("rb") as file:
            size, start = os.fstat(file.fileno()).st_size, file.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or not 2 <= length <= min(size - 8, _LONGEST_HEADER):
                raise SchemaError("it is no safetensors file, or cut off")
            header = parse_json(file.read(length).rstrip(b" "))
        if type(header) is not dict:
            raise SchemaError("its header is no object")
        self.metadata = _METADATA(header.pop("__metadata__", {}), "__metadata__")
        entries = {name: _ENTRY(entry, f"the header of {said(name)}") for name, entry in header.items()}
        self.stored = {name: Stored(entry["dtype"], tuple(entry["shape"])) for name, entry in entries.items()}
        end = 0
        for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
            first, last = entry["data_offsets"]
            width = _BYTES.get(entry["dtype"])
            if width is None:
                raise SchemaError(f"{said(name)} is of the type {said(entry['dtype'])}; known are {', '.join(_BYTES)}")
            if first != end or last - first != width * math.prod(entry["shape"]):
                raise SchemaError(f"{said(name)} does not lie where its shape says")
            end = last
        if end != size - 8 - length:
            raise SchemaError("it is cut off, or longer than its header says")

    @property
    def shapes(self) -> dict[str, Shape]:
        """Of the tensors, by name."""
        return {name: stored.shape for name, stored in self.stored.items()}

    def require(self, types: Collection[str], names: Collection[str] | None = None) -> None:
        """Refuse tensors (of these names, or all) of other types than `types`."""
        for name in self.stored if names is None else names:
            if (dtype := self.stored[name].dtype) not in types:
                raise SchemaError(f"{said(name)} is of the type {dtype}, expected {' or '.join(types)}")

    def read(self, *, unchecked: Collection[str] = ()) -> dict[str, torch.Tensor]:
        """All tensors; their numbers are finite, unless the caller checks those of some names itself.

        Raises:
            SchemaError: a number is not, or the file has changed.
        """
        try:
            with safe_open(self.path, "pt") as file:
                found = {name: file.get_tensor(name) for name in self.stored}
        except SafetensorError as error:
            raise SchemaError(f"it cannot be read: {error}") from None
        check_weights({name: tensor for name, tensor in found.items() if name not in unchecked})
        return found


def load_state(path: str | os.PathLike[str] | IO[bytes], device: str | torch.device = "cpu") -> Any:
    """Tensors and plain values that `torch.save` wrote; nothing is executed, and nothing larger than the file is.

    Raises:
        SchemaError: its parts claim more than the file has.
        OSError, RuntimeError, pickle.UnpicklingError: it cannot be read, or holds other objects.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise SchemaError("its parts are compressed, which torch never writes")
    if hasattr(path, "seek"):
        path.seek(0)
    found = torch.load(path, map_location=device, weights_only=True)
    _check_views(found)
    return found


def _check_views(found: Any) -> None:
    """Refuse tensors that claim more values than they have."""
    parts = [found]
    while parts:
        value = parts.pop()
        if isinstance(value, torch.Tensor):
            claimed = value.numel() * value.element_size()
            if value.layout != torch.strided or claimed > value.untyped_storage().nbytes():
                raise SchemaError(f"a tensor of shape {list(value.shape)} has fewer values than it claims")
        elif isinstance(value, Mapping):
            parts += value.values()
        elif isinstance(value, (list, tuple)):
            parts += value


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, which is not held in memory for it."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def check_weights(weights: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights with which a network gives no numbers: not finite, or variances below 0."""
    for name, tensor in weights.items():
        if tensor.is_floating_point():
            finite(name, tensor, least=0 if name.endswith("running_var") else -1e30)


def finite(name: str, tensor: torch.Tensor, *, least: float = -1e30, most: float = 1e30) -> None:
    """Refuse a tensor with values that are not finite or out of a range."""
    if tensor.numel() and not ((tensor >= least) & (tensor <= most)).all():
        rule = f"not from {least:g} to {most:g}" if tensor.isfinite().all() else "not finite"
        raise SchemaError(f"{said(name)} holds values that are {rule}")


def shapes_of(build: Callable[[], nn.Module]) -> dict[str, Shape]:
    """Shapes of the weights of a network, which is built without memory for them."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build().state_dict().items()}


def same_shapes(found: Mapping[str, Shape], expected: Mapping[str, Shape]) -> None:
    """Refuse names or shapes that are not those expected."""
    missing, unknown = expected.keys() - found.keys(), found.keys() - expected.keys()
    if missing or unknown:
        raise SchemaError(", ".join(_listed("missing", missing) + _listed("unknown", unknown)))
    for name, shape in found.items():
        if shape != expected[name]:
            raise SchemaError(f"{said(name)} is of shape {list(shape)}, expected {list(expected[name])}")


def _listed(what: str, names: Collection[str]) -> list[str]:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [f"{what} {said(sorted(names)[:3])}{more}"] if names else []


def bound_shapes(
    found: Mapping[str, Shape],
    expected: Mapping[str, str],
    sizes: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Sizes of named axes, which tensors share; refuses names and shapes that do not fit each other.

    >>> bound_shapes({"weight": (3, 8), "bias": (3,)}, {"weight": "out in", "bias": "out"}, {"in": 8})
    {'in': 8, 'out': 3}

    Args:
        found: the shapes of a file.
        expected: for each name its axes: names of sizes, or numbers.
        sizes: those that are known.

    Raises:
        SchemaError: a tensor is missing, unknown, or of a shape that contradicts the sizes or another tensor.
    """
    bound = dict(sizes or {})
    axes = {name: expected[name].split() for name in expected}
    for name in found.keys() & expected.keys():
        if len(found[name]) != len(axes[name]):
            raise SchemaError(f"{said(name)} is of shape {list(found[name])}, expected {len(axes[name])} axes")
        for axis, size in zip(axes[name], found[name], strict=True):
            if not axis.isdecimal():
                bound.setdefault(axis, size)
    shapes = {name: tuple(int(a) if a.isdecimal() else bound.get(a, 0) for a in axes[name]) for name in expected}
    same_shapes(found, shapes)
    return bound
