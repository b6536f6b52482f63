"""Seconds and memory of converting the published NAS-Bench-201 file, on a generated one of its layout and size.

    python benchmarks/convert_benchmark.py --data ../shared/data

The generated file has the structure of a published record for every cell, with as many cells trained once, twice and
three times as the published file has, and random numbers. It lies in --scratch while this runs. Every number of the
converted file is compared with what was generated.
"""

from __future__ import annotations

import argparse
import bz2
import io
import pickle
import pickletools
import struct
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

SEEDS = (777, 888, 999)
CELLS_BY_SEEDS = (2225, 5439, 7961)
"""How many cells were trained once, twice and three times in NAS-Bench-201-v1_1."""
EXTRA_MB, LOAD_SECONDS = 300, 1.0
"""Aims: memory beyond twice one record; loading of the result."""
TORCH_HEADER = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
BATCH = 1000
NOTES = """
{gigabytes:.2f} GB with {cells:,} cells, in the layout that torch wrote in 2020; a record takes up to {record:.2f} MB of
it. Memory is the most that a fresh process held, and how much of it came on top of importing the same modules; the
bar is twice a record and 300 MB. All {numbers:,} final numbers are those generated, accuracies and seconds rounded to
float32; all {points:,} points of curves are within 0.001 of them. Loading includes a look-up of every cell.
"""


# -- a file of the published layout --------------------------------------------------------------
class Layout:
    """The bytes of a record, with the places of what differs from cell to cell.

    Args:
        template: what `marked` returns.
        body: its pickle.
        first: number of the first object that the pickle remembers.
    """

    ARCHITECTURE = "|architecture|"

    def __init__(self, template: Any, body: bytes, first: int) -> None:
        self.template, self._first = template, first
        self._bytes = np.frombuffer(body, np.uint8).copy()
        floats, scalars, numbered = [], [], []
        self.remembered = 0
        opcodes: Iterator[tuple[Any, Any, Any]] = pickletools.genops(b"\x80\x02" + body + b".")
        for opcode, argument, place in opcodes:
            at = place + 1 - 2
            if opcode.name == "BINFLOAT":
                floats.append(at)
            elif opcode.name == "BINUNICODE" and len(argument) == 8 and argument.endswith("\x70\x3f"):
                scalars.append(at + 4)
            elif opcode.name == "BINUNICODE" and argument == self.ARCHITECTURE:
                self._cut = (at, at + 4 + len(argument))
            elif opcode.name == "LONG_BINPUT":
                numbered.append(at)
                self.remembered += 1
            elif opcode.name == "LONG_BINGET" and argument >= first:
                numbered.append(at)
        self._floats, self._scalars, self._numbered = (
            np.array(places)[:, None] + np.arange(size) for places, size in ((floats, 8), (scalars, 8), (numbered, 4))
        )
        self._numbers = self._bytes[self._numbered].copy().view("<u4").astype(np.int64)

    def values(self, cell: int) -> tuple[np.ndarray, np.ndarray]:
        """The floats and the numpy scalars of a cell's record."""
        rng = np.random.default_rng(cell)
        # The older protocol writes a scalar's bytes as a text: all of one length if they are below 128.
        raw = rng.integers(0, 128, (len(self._scalars), 8), dtype=np.uint8)
        raw[:, 6:] = (0x70, 0x3F)
        return rng.uniform(0, 100, len(self._floats)), raw.view("<f8")[:, 0]

    def record(self, cell: int, first: int) -> bytes:
        """A cell's record whose first object has a number."""
        body = self._bytes
        floats, scalars = self.values(cell)
        body[self._floats] = floats.astype(">f8")[:, None].view(np.uint8)
        body[self._scalars] = scalars[:, None].view(np.uint8)
        body[self._numbered] = (self._numbers + (first - self._first)).astype("<u4").view(np.uint8)
        text = common.SPACE.format(CELLS[cell]).encode()
        start, end = self._cut
        return body[:start].tobytes() + struct.pack("<I", len(text)) + text + body[end:].tobytes()


CELLS = list(common.SPACE.enumerate())


def marked(schedules: Mapping[str, Any], seeds: Sequence[int]) -> dict[str, Any]:
    """A published record as the older file has it, with each number replaced by its place among the numbers."""
    counts = {"float": 0, "scalar": 0}
    texts: dict[int, str] = {}

    def copy(value: Any) -> Any:
        if isinstance(value, np.floating):
            counts["scalar"] += 1
            return np.frombuffer(struct.pack("<HI2s", counts["scalar"] - 1, 0, b"\x70\x3f"), "<f8")[0]
        if isinstance(value, float):
            counts["float"] += 1
            return float(counts["float"] - 1)
        if isinstance(value, str):
            if value.startswith("|"):
                return architecture
            # Names of fields are one object in the whole file, keys of curves are new in every record.
            return texts.setdefault(id(value), "".join([value[:1], value[1:]])) if "@" in value else sys.intern(value)
        if isinstance(value, dict):
            return type(value)({copy(key): copy(item) for key, item in value.items()})
        if isinstance(value, (list, tuple)):
            return type(value)(copy(item) for item in value)
        return value

    architecture = "".join(["|", Layout.ARCHITECTURE[1:]])
    record = {}
    for old, name in (("200", "full"), ("12", "less")):
        results = dict(schedules[old])
        chosen = seeds if old == "200" else (*SEEDS, 111)
        results["all_results"] = {key: v for key, v in results["all_results"].items() if key[1] in chosen}
        results["dataset_seed"] = {d: [s for s in kept if s in chosen] for d, kept in results["dataset_seed"].items()}
        record[sys.intern(name)] = copy(results)
    return record


class Generator:
    """Writes the published layout, cell after cell.

    Args:
        schedules: a record of NATS-Bench that has all seeds.
        cells: how many cells.
    """

    def __init__(self, schedules: Mapping[str, Any], cells: int) -> None:
        self.cells = cells
        self._buffer = io.BytesIO()
        self._pickler = pickle.Pickler(self._buffer, protocol=2)
        names = [common.SPACE.format(cell) for cell in CELLS]
        root = b"\x80\x02" + self._piece({}) + b"("
        self._head = root + self._piece("meta_archs") + self._piece(names) + self._piece("arch2infos") + self._piece({})
        # The first record defines the names that all others refer to.
        self._first = self._layout(schedules, SEEDS)
        self._others = [self._layout(schedules, SEEDS[: n + 1]) for n in range(len(SEEDS))]
        self._seeds = np.random.default_rng(0).permutation(np.repeat(range(len(SEEDS)), CELLS_BY_SEEDS))

    def _piece(self, value: Any) -> bytes:
        """The opcodes that push a value, in the numbering of all pieces."""
        self._buffer.seek(0)
        self._buffer.truncate()
        self._pickler.dump(value)
        return self._buffer.getvalue()[2:-1]

    def _layout(self, schedules: Mapping[str, Any], seeds: Sequence[int]) -> Layout:
        template, first = marked(schedules, seeds), len(self._pickler.memo.copy())
        return Layout(template, self._piece(template), first)

    def layout(self, cell: int) -> Layout:
        return self._others[self._seeds[cell]] if cell else self._first

    def write(self, stream: BinaryIO) -> int:
        """Write the file; returns the bytes of its largest record."""
        largest, first = 0, self._first._first
        for part in TORCH_HEADER:
            pickle.dump(part, stream, protocol=2)
        stream.write(self._head)
        for cell in range(self.cells):
            if cell % BATCH == 0:
                stream.write(b"u(" if cell else b"(")
            layout = self.layout(cell)
            record = layout.record(cell, first)
            stream.write(self._piece(cell) + record)
            first += layout.remembered
            largest = max(largest, len(record))
        stream.write(b"u" + pickle.BINUNICODE + struct.pack("<I", 17) + b"evaluated_indexes")
        stream.write(b"r" + struct.pack("<I", first) + b"]r" + struct.pack("<I", first + 1) + b"(")
        stream.write(b"".join(self._piece(cell) for cell in range(self.cells)) + b"eu.")
        pickle.dump([], stream, protocol=2)  # torch's list of weights
        return largest


# -- what must come out --------------------------------------------------------------------------
def expected(layout: Layout, cell: int) -> Iterator[tuple[str, float | np.ndarray]]:
    """Every number and curve of a cell, by its name in the converted file."""
    floats, scalars = layout.values(cell)

    def at(places: Sequence[float]) -> np.ndarray:
        return floats[np.array(places, np.int64)]

    for epochs, schedule in ((200, "full"), (12, "less")):
        for (dataset, seed), fields in layout.template[schedule]["all_results"].items():
            name = f"{epochs}/{dataset}/{seed}"
            place = struct.unpack("<HI2s", fields["params"].tobytes())[0]
            yield f"{name}/params", scalars[place]
            yield f"{name}/flops", at([fields["flop"]])[0]
            yield f"{name}/seconds", sum(at(list(fields["train_times"].values())).tolist())
            train = at(list(fields["train_acc1es"].values()))
            yield f"{name}/train", train[-1]
            yield f"{name}/train/curve", train
            for images in fields["eval_names"]:
                found = [v for key, v in fields["eval_acc1es"].items() if key.split("@")[0] == images]
                yield f"{name}/{images}", at(found)[-1]
                if len(found) == epochs:
                    yield f"{name}/{images}/curve", at(found)


def compare(generator: Generator, converted: Path, curves: bool) -> tuple[int, int]:
    """How many numbers and points of curves are right; raises where one is wrong, missing or too many."""
    with np.load(converted, allow_pickle=False) as file:
        columns = {name: file[name] for name in file.files if name != "format"}
    numbers = points = 0
    for cell in range(generator.cells):
        for name, value in expected(generator.layout(cell), cell):
            if isinstance(value, np.ndarray):
                if not curves:
                    continue
                if np.abs(columns[name][cell] * 0.002 - value).max() > 0.0010001:
                    raise SystemExit(f"cell {cell} has another {name}")
                points += len(value)
            else:
                if columns[name][cell] != columns[name].dtype.type(value):
                    raise SystemExit(f"cell {cell} has {columns[name][cell]} as {name}, not {value}")
                numbers += 1
    found = [column for column in columns.values() if column.ndim == 1]
    if sum(np.isfinite(column).sum() for column in found) != numbers:
        raise SystemExit("the converted file has numbers that were not generated")
    return numbers, points


# -- the measurement -----------------------------------------------------------------------------
IMPORTS = "from metad2a_plugin.adapters.nas_bench_201 import convert, open_benchmark\n"
CONVERT = (
    IMPORTS
    + """
import time
begin, busy = time.perf_counter(), time.process_time()
convert({source!r}, {out!r}, curves={curves})
print(time.perf_counter() - begin, time.process_time() - busy)
"""
)
LOAD = (
    IMPORTS
    + """
import time
begin = time.perf_counter()
benchmark = open_benchmark({out!r})
benchmark.accuracy(list(range({cells})), "cifar10", "valid")
print(time.perf_counter() - begin)
"""
)


def measure(generator: Generator, source: Path, record: int, curves: bool) -> dict[str, Any]:
    out = source.with_name("converted.npz")
    printed, peak = common.watch(CONVERT.format(source=str(source), out=str(out), curves=curves))
    _, before = common.watch(IMPORTS)
    loads, _ = common.watch(LOAD.format(out=str(out), cells=generator.cells))
    numbers, points = compare(generator, out, curves)
    seconds, cpu_seconds = map(float, printed.split())
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak": peak,
        "imported": before,
        "limit": 2 * record / 1e6 + EXTRA_MB,
        "bytes": out.stat().st_size,
        "load": float(loads),
        "numbers": numbers,
        "points": points,
    }


def report(results: dict[str, Any]) -> str:
    def aim(value: float, most: float, unit: str) -> str:
        return f"< {most:.4g} {unit} {'met' if value < most else 'missed'}"

    rows = []
    for name, found in results["conversions"].items():
        extra = found["peak"] - found["imported"]
        rows.append([
            name,
            f"{found['seconds']:.0f} s ({found['cpu_seconds']:.0f} s)",
            f"{found['peak']:.0f} MB",
            f"{extra:.0f} MB",
            f"{found['bytes'] / 1e6:.1f} MB",
            f"{found['load']:.2f} s",
            f"{aim(extra, found['limit'], 'MB')}, {aim(found['load'], LOAD_SECONDS, 's')}",
        ])  # fmt: skip
    header = ("kept", "conversion (CPU time)", "memory", "on top of imports", "result", "load", "aim (memory, load)")
    with_curves = list(results["conversions"].values())[-1]
    return common.markdown(header, rows) + NOTES.format(
        gigabytes=results["bytes"] / 1e9,
        cells=results["settings"]["cells"],
        record=results["record"] / 1e6,
        numbers=with_curves["numbers"],
        points=with_curves["points"],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--cells", type=int, default=common.SPACE.size)
    parser.add_argument("--scratch", type=Path, help="folder with room for the generated file: 5 GB")
    run(parser.parse_args(arguments))


def run(options: argparse.Namespace) -> None:
    with bz2.open(options.data / "nas_bench_201" / "nats_raw" / "000011.pickle.pbz2") as stream:
        schedules = pickle.load(stream)  # our own copy
    generator = Generator(schedules, options.cells)
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        source = Path(folder) / "generated.pth"
        begin = time.perf_counter()
        with source.open("wb") as out:
            record = generator.write(out)
        print(f"generated {source.stat().st_size / 1e9:.2f} GB in {time.perf_counter() - begin:.0f} s", file=sys.stderr)
        results = {
            "settings": common.settings(options) | {"scratch": None},
            "bytes": source.stat().st_size,
            "record": record,
            "conversions": {
                "final accuracies": measure(generator, source, record, curves=False),
                "and curves": measure(generator, source, record, curves=True),
            },
        }
    common.write(options.out, "convert_benchmark", results, {"convert_benchmark": report(results)})


if __name__ == "__main__":
    main()
