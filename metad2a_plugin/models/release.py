"""Reading the generator and predictor state dicts that the authors of MetaD2A released.

A release file is what ``torch.save(model.state_dict(), path)`` wrote. It is read without running code from it.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from metad2a_plugin.errors import CheckpointError
from metad2a_plugin.models.generator import PaperGenerator
from metad2a_plugin.models.predictor import HEADS, PaperPredictor
from metad2a_plugin.nn.dag import Edges, predecessors
from metad2a_plugin.spaces.nasbench201.cell import EDGES
from metad2a_plugin.utils.schema import why
from metad2a_plugin.utils.tensors import FLOATS, TensorFile, load_state

ACCURACY_MEAN, ACCURACY_STD = 71.57154, 6.69316
"""Mean and standard deviation, in percent, of the 4,230 accuracies the released predictor was trained on."""

_SET_ENCODER = {
    f"set_encoder.{ours}.{layer}": f"{theirs}.{name}"
    for ours, theirs in (("images", "intra_setpool"), ("classes", "inter_setpool"))
    for layer, name in (
        ("0", "enc.0.mab"),
        ("1", "enc.1.mab"),
        ("2.seed", "dec.0.S"),
        ("2", "dec.0.mab"),
        ("3", "dec.1"),
    )
}
_GENERATOR = {
    **_SET_ENCODER,
    "mu": "fc1",
    "logvar": "fc2",
    "decoder.cell.gru": "grud",
    "decoder.cell.gate": "decoding_gate.0",
    "decoder.cell.mapper": "decoding_mapper.0",
    "decoder.start": "fc3",
    "decoder.type_head": "add_vertex",
    "decoder.edge_head": "add_edge",
}
_PREDICTOR = {
    **_SET_ENCODER,
    "graph_encoder.ahead.gru": "grue_forward",
    "graph_encoder.ahead.gate": "gate_forward.0",
    "graph_encoder.ahead.mapper": "mapper_forward.0",
    "graph_encoder.back.gru": "grue_backward",
    "graph_encoder.back.gate": "gate_backward.0",
    "graph_encoder.back.mapper": "mapper_backward.0",
    "graph_encoder.join": "hg_unify.0",
    "graph_encoder.code": "fc1",
    "fc": "pred_fc.0",
    "out": "pred_fc.2",
}
# Tensors that the release builds and saves but that take no part in its loss or its output.
_GRU, _LINEAR = ("weight_ih", "weight_hh", "bias_ih", "bias_hh"), ("weight", "bias")
_PREDICTOR_UNUSED = {f"{layer}.{name}" for layer in ("fc2", "hv_unify.0", "set_fc.0") for name in _LINEAR}
_GENERATOR_UNUSED = {
    *(f"grue_{way}.{name}" for way in ("forward", "backward") for name in _GRU),
    *(f"gate_{way}.0.{name}" for way in ("forward", "backward") for name in _LINEAR),
    *(f"mapper_{way}.0.weight" for way in ("forward", "backward")),
    *(f"{m}.{name}" for m in ("enc_g_mu", "enc_g_var", "hv_unify.0", "hg_unify.0", "set_fc.0") for name in _LINEAR),
}


def load_release_generator(path: str | os.PathLike[str], edges: Edges = EDGES) -> PaperGenerator:
    """The released generator, in evaluation mode on the CPU; its dimensions are read off the tensors.

    Args:
        path: the state dict, a ``torch.save`` file or ``.safetensors``.
        edges: the edge list of the checkpoint's search space.

    Raises:
        CheckpointError: the file is missing, damaged, holds pickled objects, or is no such state dict.
    """
    state = _read(path)
    if "pred_fc.0.weight" in state:
        raise CheckpointError(f"{os.fspath(path)!r} is a predictor's; read it with load_release_predictor")
    with torch.device("meta"):
        model = PaperGenerator(edges, **_sizes(path, state, "grud", "decoding_gate.0", edges))
    _fill(path, model, state, _GENERATOR, _GENERATOR_UNUSED)
    return model.eval()


def load_release_predictor(path: str | os.PathLike[str], edges: Edges = EDGES) -> PaperPredictor:
    """The released predictor, in evaluation mode on the CPU; arguments and errors as `load_release_generator`."""
    state = _read(path)
    if "grud.weight_hh" in state:
        raise CheckpointError(f"{os.fspath(path)!r} is a generator's; read it with load_release_generator")
    with torch.device("meta"):
        model = PaperPredictor(edges, **_sizes(path, state, "grue_forward", "gate_forward.0", edges))
    _fill(path, model, state, _PREDICTOR, _PREDICTOR_UNUSED)
    return model.eval()


def _read(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    if not Path(path).is_file():
        raise CheckpointError(f"no checkpoint file at {os.fspath(path)!r}; give the path of a state dict")
    try:
        if Path(path).suffix == ".safetensors":
            file = TensorFile(path)
            file.require(FLOATS)
            state = file.read()
        else:
            state = load_state(path)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{os.fspath(path)!r} holds pickled objects or is damaged, and pickles can run code, so it is not read; "
            "save the weights alone, with torch.save(model.state_dict(), path)"
        ) from error
    except Exception as error:  # readers of damaged files fail in many ways
        raise CheckpointError(f"{os.fspath(path)!r} cannot be read as a state dict: {why(error)}") from error
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise CheckpointError(
            f"{os.fspath(path)!r} is not a state dict of named tensors; "
            "save one with torch.save(model.state_dict(), path)"
        )
    return state


def _sizes(
    path: str | os.PathLike[str], state: Mapping[str, torch.Tensor], gru: str, gate: str, edges: Edges
) -> dict[str, Any]:
    """The dimensions of the model whose recurrence has these names, as its arguments."""
    names = (f"{gru}.weight_ih", f"{gate}.weight", "intra_setpool.enc.0.mab.fc_q.weight")
    for name in names:
        if name not in state or state[name].ndim != 2 or 0 in state[name].shape:
            raise CheckpointError(f"{os.fspath(path)!r} is not a released state dict: it has no matrix {name!r}")
    (_, types), (hidden, joined), (latent, features) = (state[name].shape for name in names)
    vertices = len(predecessors(edges))
    if joined - hidden != vertices:
        raise CheckpointError(
            f"{os.fspath(path)!r} is for graphs of {joined - hidden} vertices, but the edges given join {vertices}; "
            "pass the edge list of the checkpoint's search space"
        )
    if latent % HEADS:
        raise CheckpointError(
            f"{os.fspath(path)!r}: a latent width of {latent} does not divide into the release's {HEADS} heads"
        )
    return {"num_types": types, "feature_dim": features, "hidden": hidden, "latent": latent, "heads": HEADS}


def _fill(
    path: str | os.PathLike[str],
    model: nn.Module,
    state: Mapping[str, torch.Tensor],
    table: Mapping[str, str],
    unused: set[str],
) -> None:
    """Give `model`, built without storage, the tensors of `state` under the names of `table`."""
    wanted = model.state_dict()
    names = {name: _release_name(name, table) for name in wanted}
    problems = [f"missing {name!r}" for name in names.values() if name not in state]
    problems += [f"unexpected {name!r}" for name in state.keys() - set(names.values()) - unused]
    problems += [
        f"{theirs!r} of shape {list(state[theirs].shape)}, expected {list(wanted[ours].shape)}"
        for ours, theirs in names.items()
        if theirs in state and state[theirs].shape != wanted[ours].shape
    ]
    problems += [f"not-finite values in {name!r}" for name, t in state.items() if not t.isfinite().all()]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(
            f"{os.fspath(path)!r} does not fit {type(model).__name__}: {'; '.join(sorted(problems)[:3])}{more}"
        )
    model.load_state_dict({ours: state[theirs].float() for ours, theirs in names.items()}, assign=True)


def _release_name(name: str, table: Mapping[str, str]) -> str:
    module = max((m for m in table if name == m or name.startswith(f"{m}.")), key=len)
    return table[module] + name[len(module) :]
