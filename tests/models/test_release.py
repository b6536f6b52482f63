"""The expected numbers were recorded from the authors' public code, on the same closed-form weights and features."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from metad2a_plugin.errors import CheckpointError
from metad2a_plugin.models.release import load_release_generator, load_release_predictor
from metad2a_plugin.nn.dag import Edges
from metad2a_plugin.spaces.nasbench201.cell import EDGES

CHAIN = tuple((v, v + 1) for v in range(21))
NASBENCH201_GRAPHS = [
    [0, 2, 3, 6, 6, 3, 2, 1],
    [0, 5, 2, 6, 2, 5, 5, 1],
    [0, 3, 6, 6, 3, 2, 3, 1],
    [0, 6, 5, 6, 4, 4, 6, 1],
]
MOBILENETV3_GRAPHS = [
    [0, 2, 3, 6, 11, 18, 27, 11, 24, 12, 2, 21, 15, 11, 9, 9, 11, 15, 21, 2, 12, 1],
    [0, 5, 7, 11, 17, 25, 8, 20, 7, 23, 14, 7, 2, 26, 25, 26, 2, 7, 14, 23, 7, 1],
    [0, 8, 11, 16, 23, 5, 16, 2, 17, 7, 26, 20, 16, 14, 14, 16, 20, 26, 7, 17, 2, 1],
]
Shapes = dict[str, tuple[int, ...]]
State = dict[str, torch.Tensor]
Row = list[float]
Rows = list[list[float]]


def noise(shape: tuple[int, ...], k: int) -> np.ndarray:
    """Numbers in [-1, 1) from a closed form, equal on every machine."""
    x = np.sin(np.arange(np.prod(shape)) * 12.9898 + k * 78.233) * 43758.5453
    return (2 * (x - np.floor(x)) - 1).reshape(shape)


def filled(shapes: Shapes) -> State:
    state = {}
    for k, (name, shape) in enumerate(sorted(shapes.items())):
        scale = 1.4 / np.sqrt(shape[-1]) if len(shape) > 1 else 0.2
        state[name] = torch.tensor(noise(shape, k) * scale, dtype=torch.float32)
    return state


def image_sets(batch: int) -> torch.Tensor:
    centre = noise((batch, 3, 1, 512), 101) + 0.5 * noise((batch, 1, 1, 512), 102)
    features = np.maximum(centre + 0.5 * noise((batch, 3, 6, 512), 103), 0)
    return torch.tensor(features, dtype=torch.float32)


def linear(name: str, outputs: int, inputs: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (outputs, inputs)} | ({f"{name}.bias": (outputs,)} if bias else {})


def gru(name: str, types: int, h: int) -> Shapes:
    shapes: Shapes = {f"{name}.weight_ih": (3 * h, types), f"{name}.weight_hh": (3 * h, h)}
    return shapes | {f"{name}.bias_ih": (3 * h,), f"{name}.bias_hh": (3 * h,)}


def common(types: int, h: int, vertices: int) -> Shapes:
    """What both released models save."""
    shapes: Shapes = linear("set_fc.0", 56, 512) | linear("fc1", 56, h) | linear("fc2", 56, h)
    shapes |= linear("hv_unify.0", h, 2 * h) | linear("hg_unify.0", h, 2 * h)
    for way in ("forward", "backward"):
        shapes |= gru(f"grue_{way}", types, h) | linear(f"gate_{way}.0", h, h + vertices)
        shapes |= linear(f"mapper_{way}.0", h, h + vertices, bias=False)
    for pool, dim in (("intra_setpool", 512), ("inter_setpool", 56)):
        shapes |= {f"{pool}.dec.0.S": (1, 1, 56)} | linear(f"{pool}.dec.1", 56, 56)
        for block, width in (("enc.0", dim), ("enc.1", 56), ("dec.0", 56)):
            for fc in ("fc_q", "fc_k", "fc_v"):
                shapes |= linear(f"{pool}.{block}.mab.{fc}", 56, width)
            shapes |= linear(f"{pool}.{block}.mab.fc_o", 56, 56)
    return shapes


def generator_shapes(types: int = 7, vertices: int = 8) -> Shapes:
    h = 56
    shapes = common(types, h, vertices) | linear("enc_g_mu", 56, h) | linear("enc_g_var", 56, h)
    shapes |= gru("grud", types, h) | linear("fc3", h, 56)
    shapes |= linear("add_vertex.0", 2 * h, h) | linear("add_vertex.2", types, 2 * h)
    shapes |= linear("add_edge.0", 4 * h, 2 * h) | linear("add_edge.2", 1, 4 * h)
    shapes |= linear("decoding_gate.0", h, h + vertices)
    return shapes | linear("decoding_mapper.0", h, h + vertices, bias=False)


def predictor_shapes(types: int = 7, vertices: int = 8, h: int = 512) -> Shapes:
    return common(types, h, vertices) | linear("pred_fc.0", h, 112) | linear("pred_fc.2", 1, h)


def test_the_release_sizes() -> None:
    assert sum(int(np.prod(s)) for s in generator_shapes().values()) == 304_200
    assert sum(int(np.prod(s)) for s in predictor_shapes().values()) == 4_020_361


@pytest.mark.parametrize(
    ("shapes", "edges", "graphs", "mu", "nll", "kl"),
    [
        (
            generator_shapes(),
            EDGES,
            NASBENCH201_GRAPHS,
            [
                [-0.5916208, 0.1101855],
                [-0.8944585, -0.04055216],
                [-0.6333187, 0.1557945],
                [-0.1623596, -0.4554359],
            ],
            [33.889454, 33.571949, 34.343285, 32.992958],
            [11.167795, 24.792374, 21.992111, 21.064377],
        ),
        (
            generator_shapes(29, 22),
            CHAIN,
            MOBILENETV3_GRAPHS,
            [[-0.5916209, 0.1101854], [-0.8944586, -0.04055214], [-0.6333188, 0.1557947]],
            [226.25258, 225.55341, 224.95985],
            [11.167793, 24.792374, 21.992115],
        ),
    ],
    ids=["nasbench201", "mobilenetv3"],
)
@torch.inference_mode()
def test_same_likelihood_as_the_release(
    shapes: Shapes, edges: Edges, graphs: Rows, mu: Rows, nll: Row, kl: Row, tmp_path: Path
) -> None:
    torch.save(filled(shapes), tmp_path / "ckpt_400.pt")
    generator = load_release_generator(tmp_path / "ckpt_400.pt", edges)
    vertices, sets = torch.tensor(graphs), image_sets(len(graphs))
    code, _ = generator.encode(sets)
    torch.testing.assert_close(code[:, :2], torch.tensor(mu), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        -generator.log_likelihood(code, vertices), torch.tensor(nll), atol=1e-4, rtol=1e-6
    )
    torch.testing.assert_close(
        generator.loss(sets, vertices)["kl"], torch.tensor(kl).sum(), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize(
    ("shapes", "edges", "graphs", "scores"),
    [
        (predictor_shapes(), EDGES, NASBENCH201_GRAPHS, [-0.2333666, -0.591793, -0.5280373, -0.3056176]),
        (predictor_shapes(29, 22, h=64), CHAIN, MOBILENETV3_GRAPHS, [-0.0488451, 0.0443401, -0.0278015]),
    ],
    ids=["nasbench201", "mobilenetv3"],
)
@torch.inference_mode()
def test_same_scores_as_the_release(
    shapes: Shapes, edges: Edges, graphs: Rows, scores: Row, tmp_path: Path
) -> None:
    torch.save(filled(shapes), tmp_path / "ckpt_max_corr.pt")
    predictor = load_release_predictor(tmp_path / "ckpt_max_corr.pt", edges)
    found = predictor(image_sets(len(graphs)), torch.tensor(graphs))
    torch.testing.assert_close(found, torch.tensor(scores), atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def state() -> State:
    return filled(generator_shapes())


def test_unused_tensors_may_be_left_out_and_safetensors_are_read(state: State, tmp_path: Path) -> None:
    slim = {name: t for name, t in state.items() if not name.startswith(("grue_", "hg_unify", "set_fc"))}
    save_file(slim, tmp_path / "generator.safetensors")
    torch.save(state, tmp_path / "generator.pt")
    one, two = (
        load_release_generator(tmp_path / f"generator.{s}").state_dict() for s in ("safetensors", "pt")
    )
    assert all(torch.equal(one[name], two[name]) for name in two)


def test_loaded_models_are_ready_to_use_and_trainable(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "generator.pt")
    generator = load_release_generator(tmp_path / "generator.pt")
    assert not generator.training
    assert all(p.requires_grad and p.dtype == torch.float32 for p in generator.parameters())


def without(state: State, name: str) -> State:
    return {k: v for k, v in state.items() if k != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "fc1.bias"), "missing 'fc1.bias'"),
        (lambda s: without(s, "grud.weight_hh"), "missing 'grud.weight_hh'"),
        (lambda s: s | {"fc4.weight": torch.zeros(1)}, "unexpected 'fc4.weight'"),
        (lambda s: s | {"set_fc.1.weight": torch.zeros(1)}, "unexpected 'set_fc.1.weight'"),
        (lambda s: s | {"fc2.bias": torch.zeros(3)}, r"'fc2.bias' of shape \[3\], expected \[56\]"),
        (
            lambda s: s | {"intra_setpool.enc.0.mab.fc_q.weight": torch.zeros(54, 512)},
            "latent width of 54 does not divide",
        ),
        (lambda s: s | {"fc2.bias": torch.full((56,), torch.nan)}, "not-finite values in 'fc2.bias'"),
        (lambda s: s | {"decoding_gate.0.weight": torch.zeros(56, 78)}, "graphs of 22 vertices"),
        (lambda s: filled(predictor_shapes(h=56)), "load_release_predictor"),
        (lambda s: {"state_dict": s}, "not a state dict of named tensors"),
        (lambda s: [*s.values()], "not a state dict of named tensors"),
        (lambda s: without(s, "grud.weight_ih"), "no matrix 'grud.weight_ih'"),
        (lambda s: {}, "no matrix"),
        (lambda s: torch.nn.Linear(2, 2), "pickled objects"),
        (lambda s: s | {"when": datetime.timedelta(1)}, "pickled objects"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    change: Callable[[State], object], message: str, state: State, tmp_path: Path
) -> None:
    torch.save(change(state), tmp_path / "given.pt")
    with pytest.raises(CheckpointError, match=message):
        load_release_generator(tmp_path / "given.pt")


@pytest.mark.parametrize("name", ["given.pt", "given.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04" + bytes(80), bytes(200)])
def test_damaged_files_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        load_release_predictor(tmp_path / name)


def test_truncated_file_is_refused(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "given.pt")
    whole = (tmp_path / "given.pt").read_bytes()
    (tmp_path / "given.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"given\.pt"):
        load_release_generator(tmp_path / "given.pt")


def test_a_generator_is_not_read_as_a_predictor(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "given.pt")
    with pytest.raises(CheckpointError, match="load_release_generator"):
        load_release_predictor(tmp_path / "given.pt")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.pt", tmp_path):
        with pytest.raises(CheckpointError, match="no checkpoint file"):
            load_release_generator(path)
