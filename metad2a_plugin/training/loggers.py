"""Logs of trainings: what `Callback` is told after every epoch, as a table or for TensorBoard."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metad2a_plugin.errors import ConfigError, require
from metad2a_plugin.training.fit import Callback, Epoch, Training
from metad2a_plugin.utils.checks import one_of, path_like
from metad2a_plugin.utils.files import check_writable, check_writable_folder

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_COLUMNS = ("training", "architecture", *Epoch._fields)


class CSVLogger:
    """Adds a line to a table after every epoch, of all trainings that it is given to.

    Several processes may log to one file. The table goes on where there is one.

    Args:
        path: the file.

    Raises:
        ConfigError: it cannot be written, or holds something else.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path_like("path", path)
        check_writable(path)
        self.path = Path(path)
        header = _line(_COLUMNS)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with self.path.open("xb") as file:  # by one process only
                    file.write(header)
            except FileExistsError:
                with self.path.open("rb") as file:
                    if not self.path.is_file() or file.read(len(header)) != header:
                        raise ConfigError(f"{os.fspath(path)!r} is no log of trainings; give another file") from None
        except OSError as error:
            raise self._unwritable(error) from error

    def on_epoch_end(self, epoch: Epoch, training: Training) -> None:
        try:
            # One write a line: neither a process that is killed nor a second one leaves half of one.
            with self.path.open("ab", buffering=0) as file:
                file.write(_line((training.name, training.architecture, *epoch)))
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> ConfigError:
        return ConfigError(f"cannot write the log {str(self.path)!r}: {error.strerror}; choose another file")


class TensorBoardLogger:
    """Writes the numbers of every epoch as scalars for TensorBoard, a run for each training.

    Args:
        folder: that ``tensorboard --logdir`` is given.

    Raises:
        MissingExtraError: tensorboard is not installed (extra ``tensorboard``).
        ConfigError: the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        require("tensorboard", "a log for TensorBoard", "tensorboard")
        path_like("folder", folder)
        check_writable_folder(Path(folder))
        self.folder = Path(folder)
        self._writer: SummaryWriter | None = None
        self._name = ""

    def on_epoch_end(self, epoch: Epoch, training: Training) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if self._writer is None or training.name != self._name:
            self.close()
            # Of an interrupted training, what was told of this epoch and later ones counts no more.
            self._writer = SummaryWriter(str(self.folder / training.name), purge_step=epoch.epoch)
            self._name = training.name
            self._writer.add_text("architecture", f"`{training.architecture}`", epoch.epoch)
        for name, value in epoch._asdict().items():
            if name != "epoch":
                self._writer.add_scalar(name, value, epoch.epoch)
        self._writer.flush()
        if epoch.epoch == training.config.epochs:
            self.close()

    def close(self) -> None:
        """Close the file; all is written after each epoch anyway."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None


def _line(values: Sequence[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


LOGGERS: dict[str, Callable[[Path], Callback]] = {
    "csv": lambda folder: CSVLogger(folder / "log.csv"),
    "tensorboard": lambda folder: TensorBoardLogger(folder / "tensorboard"),
}
"""By name, what makes one that writes into a folder."""


def loggers(names: Sequence[str], folder: Path) -> list[Callback]:
    """Loggers by their names, each once; errors as of the classes."""
    return [LOGGERS[one_of("log", name, LOGGERS)](folder) for name in dict.fromkeys(names)]
