"""What a run has decided and done, in a file that is written as it goes: an interrupted run goes on from it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from metad2a_plugin.errors import CheckpointError
from metad2a_plugin.utils.files import write_json
from metad2a_plugin.utils.kept import unreadable
from metad2a_plugin.utils.schema import anything, integer, list_of, mapping_of, number, read_json, record, text

FORMAT = 1
NAME = "auto.json"
ADVICE = "choose another folder with --out, or give what it was made of"

_TRAINED = record(
    {
        "contender": text(1, 1000),
        "round": integer(1, 1000),
        "curve": list_of(number(0, 100), 1),
        "seconds": number(0, 1e12),
    },
    others=False,
)
_JOURNAL = record(
    {
        "format": integer(),
        "settings": mapping_of(anything),
        "elapsed": number(0, 1e12),
        "decided": mapping_of(anything),
        "trained": list_of(_TRAINED),
    }
)


@dataclass(frozen=True)
class Trained:
    """A training that is done.

    Attributes:
        contender: its name.
        round: from 1.
        curve: validation accuracy after every epoch, in percent.
        seconds: that it took.
        accuracy: the last of the curve.
    """

    contender: str
    round: int
    curve: tuple[float, ...]
    seconds: float

    @property
    def epochs(self) -> int:
        return len(self.curve)

    @property
    def accuracy(self) -> float:
        return self.curve[-1]

    @property
    def folder(self) -> str:
        return folder_of(self.contender, self.round)


def folder_of(contender: str, number: int) -> str:
    """Where a contender's training in a round is kept, below the folder of the run."""
    return f"round-{number}/{contender}"


def contenders_of(number: int) -> str:
    """The decision who trains in a round."""
    return f"contenders of round {number}"


class Journal:
    """Decisions and trainings of a run.

    Args:
        folder: of the run.
        settings: what all else depends on, in plain values; a folder of others is refused.
        clock: seconds; None is the time on the wall.
        began: what it showed when the work began; None is now.

    Raises:
        CheckpointError: the file is damaged, or of other settings or images.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict[str, Any],
        clock: Callable[[], float] | None = None,
        began: float | None = None,
    ) -> None:
        self.folder, self.settings, self.clock = folder, settings, clock or time.monotonic
        self.decided: dict[str, Any] = {}
        self.trained: list[Trained] = []
        self._before, self._began = 0.0, self.clock() if began is None else began
        path = folder / NAME
        if path.exists():
            self._read(path)

    @property
    def elapsed(self) -> float:
        """Seconds of work, over all interruptions."""
        return self._before + self.clock() - self._began

    def decide(self, name: str, make: Callable[[], Any]) -> Any:
        """A decision in plain values, which is made once and kept."""
        if name not in self.decided:
            # As a file gives it back.
            self.decided[name] = json.loads(json.dumps(make()))
            self.save()
        return self.decided[name]

    def find(self, contender: str, round: int) -> Trained | None:  # noqa: A002 - the field's word
        """A training that is done."""
        return next((t for t in self.trained if (t.contender, t.round) == (contender, round)), None)

    def add(self, trained: Trained) -> None:
        """Keep a training; those of a round are in the order of its contenders, whichever was first to end."""
        self.trained.append(trained)
        self.trained.sort(key=self._place)
        self.save()

    def _place(self, trained: Trained) -> tuple[int, int]:
        names = self.decided.get(contenders_of(trained.round), [])
        return trained.round, names.index(trained.contender) if trained.contender in names else 0

    def save(self) -> None:
        """Write the file, with the time so far."""
        write_json(
            self.folder / NAME,
            {
                "format": FORMAT,
                "settings": self.settings,
                "elapsed": self.elapsed,
                "decided": self.decided,
                "trained": [asdict(one) for one in self.trained],
            },
        )

    def _read(self, path: Path) -> None:
        try:
            found = _JOURNAL(read_json(path), "")
            wanted = {"format": FORMAT, **json.loads(json.dumps(self.settings))}
            there = {"format": found["format"], **found["settings"]}
            others = [name for name in {**wanted, **there} if there.get(name) != wanted.get(name)]
            if not others:
                self.decided, self._before = found["decided"], found["elapsed"]
                self.trained = [Trained(**{**one, "curve": tuple(one["curve"])}) for one in found["trained"]]
        except (OSError, ValueError) as error:
            raise unreadable(path, error, ADVICE) from error
        if others:
            raise CheckpointError(f"{str(path)!r} is of other settings or images ({', '.join(others)}); {ADVICE}")
