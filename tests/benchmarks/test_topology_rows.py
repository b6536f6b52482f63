from __future__ import annotations

from pathlib import Path

import pytest
import topology_rows
import torch


def test_ranks_are_taken_within_a_group() -> None:
    values, groups = torch.tensor([10.0, 30.0, 20.0, 1.0, 1.0]), torch.tensor([0, 0, 0, 1, 1])
    assert topology_rows.centred_ranks(values, groups).tolist() == [-1, 1, 0, 0, 0]


def test_what_others_explain_is_taken_away() -> None:
    torch.manual_seed(0)
    common, x, y = torch.randn(3, 500, dtype=torch.float64)
    free = torch.zeros(500, 0, dtype=torch.float64)
    assert topology_rows.partial(common + 0.1 * x, common + 0.1 * y, free) > 0.9
    assert abs(topology_rows.partial(common + 0.1 * x, common + 0.1 * y, common[:, None])) < 0.15
    assert topology_rows.partial(common, y, common[:, None]) != topology_rows.partial(common, y, free)


def rows(gain: float, sets: int = 4, each: int = 60) -> topology_rows.Rows:
    """Made-up trainings in which wide cells are ahead early, by chance alone late."""
    generator = torch.Generator().manual_seed(0)
    n = sets * each
    width, depth = torch.rand(2, n, generator=generator, dtype=torch.float64)
    noise = torch.rand(2, n, generator=generator, dtype=torch.float64)
    return topology_rows.Rows(
        image_set=[f"set {i // each}" for i in range(n)],
        context=torch.arange(n) // 6,
        steps=torch.arange(n) % 2 * 100 + 50,
        epochs=torch.full((n,), 20),
        early=width + 0.1 * noise[0],
        late=gain * width + noise[1],
        width=width,
        depth=depth,
        operations=torch.ones(n, 1, dtype=torch.int64),
    )


def test_the_sentence_follows_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology_rows, "ENOUGH", 10)
    found, names, middle = topology_rows.correlations(rows(0.0))
    assert len(names) == 4 and middle == 50
    said = topology_rows.sentence(found, len(names))
    assert "width loses in the course of a training" in said and "4 image sets" in said
    found, _, _ = topology_rows.correlations(rows(50.0))
    assert "width loses" not in topology_rows.sentence(found, 4)


def test_the_shipped_trainings_make_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    topology_rows.main(["--out", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "On 19 image sets" in shown and (tmp_path / "topology_rows.md").exists()
    kept = Path(__file__).parents[2] / "benchmarks" / "results" / "topology_rows.md"
    assert (tmp_path / "topology_rows.md").read_text() == kept.read_text()
