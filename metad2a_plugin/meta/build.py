"""Building of a meta-database: random networks of a supernet, measured on random tasks (MetaD2A, appendix B).

A row is the accuracy of one network, with the supernet's weights, on one task: the classifier keeps the task's
classes, and batch norm is calibrated anew on some of the task's images. The folder is a database that
`meta.database.load_database` reads:

- ``tasks.csv`` and ``map_clsloc.txt``, written first;
- ``build.json``: what the rows depend on;
- ``supernet.safetensors``: the weights;
- ``rows.csv``, or ``rows.I-of-N.csv`` of a shard: rows are appended as they are measured, in any order.

However many processes measure, the rows are the same, and on other machines with the same torch and kind of CPU too.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import signal
import threading
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from metad2a_plugin._checks import integer
from metad2a_plugin._device import usable
from metad2a_plugin._files import write_atomically
from metad2a_plugin._progress import Progress
from metad2a_plugin.data import DatasetWarning, ImageDataset, extract_task, get_encoder, load_dataset
from metad2a_plugin.errors import CheckpointError, ConfigError, DatasetError, require
from metad2a_plugin.meta.plan import Plan, PlanConfig
from metad2a_plugin.meta.supernet import LabelledImages, SupernetConfig, accuracy, train_supernet
from metad2a_plugin.spaces._mobilenetv3_supernet import load_supernet, save_supernet

COLUMNS = ("row", "task", "arch_str", "accuracy", "split")
_CACHE = 2**30  # bytes of decoded images that a process keeps


@dataclass(frozen=True)
class Job:
    """What a process needs to measure rows.

    Attributes:
        images: path of the images.
        supernet: path of the weights.
        config: settings.
        input_size: side of the images, in pixels.
        own: the supernet's outputs are the usable classes, and not all classes of the images.
        device: where networks run.
    """

    images: str
    supernet: str
    config: PlanConfig
    input_size: int
    own: bool
    device: str


class Worker:
    """Measures rows; one thread, so that the same row always gives the same number."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.plan = Plan(_images(job.images, job.input_size if job.own else None), job.config)
        self.supernet = load_supernet(job.supernet).to(job.device)
        channels = 3 * job.input_size**2 * (job.config.test_images + job.config.calibration_images)
        self._class = lru_cache(maxsize=max(job.config.classes, _CACHE // channels))(self._decode)

    def measure(self, number: int) -> list[str]:
        """A row of the file, by its number."""
        with _one_thread():
            row = self.plan.row(number)
            classes = self.plan.task_classes[row.task]
            outputs = np.searchsorted(self.plan.usable, classes) if self.job.own else classes
            network = self.supernet.extract(row.architecture, torch.from_numpy(outputs).to(self.job.device))
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            calibration, tested = zip(*(self._class(int(label)) for label in classes), strict=True)
            labels = torch.arange(len(classes)).repeat_interleave(self.job.config.test_images)
            percent = accuracy(
                network,
                torch.cat(calibration).to(self.job.device),
                LabelledImages(torch.cat(tested).to(self.job.device), labels.to(self.job.device)),
            )
        text = self.supernet.space.format(row.architecture)
        split = "valid" if self.plan.is_valid(row.task) else "train"
        return [str(number), str(row.task), text, f"{percent:.4f}", split]

    def _decode(self, label: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images of a class to calibrate on and to test on, uint8 ``[n, 3, size, size]`` each."""
        train, test = self.plan.parts[label]
        chosen = np.concatenate([train[: self.job.config.calibration_images], test])
        decoded = self.plan.images.images(chosen, self.job.input_size)
        first, second = decoded.split([self.job.config.calibration_images, len(test)])
        return first, second


def build_database(
    images: str | Path,
    out: str | Path,
    config: PlanConfig | None = None,
    supernet: SupernetConfig | str | Path | None = None,
    *,
    workers: int = 1,
    ray: str | None = None,
    shard: tuple[int, int] = (1, 1),
    input_size: int = 224,
    device: str = "cpu",
    progress: Progress = lambda stage, done, total, note: None,
) -> Path:
    """Train a supernet, or take one, and measure its networks on tasks; the same call goes on after an interruption.

    Args:
        images: a folder of class folders, or a zip of one.
        out: the database's folder.
        config: settings of tasks and rows.
        supernet: how to train one on the images; or a file of one in OFA's layout, whose outputs are the classes of
            the images in the order of their names.
        workers: processes that measure.
        ray: address of a Ray cluster that measures instead, ``"local"`` for a new one on this machine alone; all
            machines must find `images` and `out` under the same paths.
        shard: ``(i, n)`` measures the i-th of n parts, into a file of its own in the same, shared folder, so that n
            machines without Ray can share the work; the first makes the supernet.
        input_size: side of the images, in pixels, for a supernet that is brought along.
        device: where the supernet trains and networks are measured.
        progress: see `Progress`.

    Returns:
        The file of rows.

    Raises:
        DatasetError: the images cannot be used.
        ConfigError: settings are wrong, another call is writing, or the folder is of other settings.
        CheckpointError: the supernet cannot be read, or has another number of outputs.
        MissingExtraError: Ray is not installed.
    """
    config, supernet = config or PlanConfig(), supernet or SupernetConfig()
    integer("workers", workers, 1)
    integer("input_size", input_size, 32)
    if not 1 <= shard[0] <= shard[1]:
        raise ConfigError(f"the shard must be I of N with 1 <= I <= N, such as 1/4, got {shard[0]}/{shard[1]}")
    if ray is not None:
        require("ray", "measuring on a cluster", "ray")
        if workers > 1:
            raise ConfigError("a Ray cluster has its own workers; leave out workers, or ray")
    usable(device)
    # Workers may run elsewhere.
    images, out = os.path.abspath(os.path.expanduser(images)), Path(out).expanduser().absolute()
    if not isinstance(supernet, SupernetConfig):
        supernet = Path(supernet).expanduser().absolute()
    own = isinstance(supernet, SupernetConfig)
    side = supernet.input_size if isinstance(supernet, SupernetConfig) else input_size
    plan = Plan(_images(images, side if own else None), config)
    made_of = _made_of(plan, supernet, side)
    files = [f"rows.{i}-of-{shard[1]}.csv" if shard[1] > 1 else "rows.csv" for i in range(1, shard[1] + 1)]
    path, numbers = out / files[shard[0] - 1], range(shard[0] - 1, len(plan), shard[1])
    with _alone(out / f"{path.name}.lock"):
        _check_folder(out, made_of, files)
        done = _finished(path, set(numbers))
        progress("images", 1, 1, f"{len(plan.usable):,} of {plan.images.num_classes:,} classes have enough images")
        _write_plan(plan, out, made_of)
        with _alone(out / "supernet.lock", wait=True):
            weights = _supernet(plan, out, supernet, progress)
        job = Job(images, os.fspath(weights), config, side, own, device)
        _measure(job, path, numbers, done, workers, ray, progress)
    return path


def _images(path: str, size: int | None) -> ImageDataset:
    """With `size`, the images that can be decoded."""
    with _without_warnings():
        images = load_dataset(path)
    return images if size is None else images.verified(size)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Classes of few images are left out on purpose."""
    with warnings.catch_warnings():
        for message in (".* have a single image", ".* has a single image", ".* have no usable image"):
            warnings.filterwarnings("ignore", message, DatasetWarning)
        yield


def _made_of(plan: Plan, supernet: SupernetConfig | Path, input_size: int) -> dict[str, Any]:
    """What rows depend on, as JSON values; refuses a supernet or a teacher that cannot be used."""
    weights: Any
    if isinstance(supernet, SupernetConfig):
        usable(supernet.device)
        weights = asdict(supernet) | {"device": ""}
        if supernet.teacher is not None:
            weights["teacher_fingerprint"] = get_encoder(supernet.teacher).fingerprint
        content = plan.images.content_hash
    else:
        weights = {"sha256": _sha256(supernet)}
        if (outputs := load_supernet(supernet).num_classes) != plan.images.num_classes:
            raise CheckpointError(
                f"the supernet {os.fspath(supernet)!r} tells {outputs} classes apart, and {plan.images.name!r} has "
                f"{plan.images.num_classes}; give the images of all its classes"
            )
        # Too many bytes to read them all, as of ImageNet.
        keys = "\n".join(f"{plan.images.key(i)} {label}" for i, label in enumerate(plan.images.labels))
        content = hashlib.sha256(keys.encode()).hexdigest()
    return {
        "space": "mobilenetv3",
        "tasks": asdict(plan.config),
        "images": {"sha256": content, "input_size": input_size},
        "supernet": weights,
    }


def _check_folder(out: Path, made_of: dict[str, Any], files: Sequence[str]) -> None:
    """Refuse a folder of something else, before anything is written.

    Raises:
        ConfigError: says what it holds, or which setting differs.
    """
    path = out / "build.json"
    held = [found.name for kind in ("tasks.csv*", "map_clsloc.txt", "rows*.csv*") for found in sorted(out.glob(kind))]
    held = [name for name in held if not name.endswith(".lock")]
    if not path.exists():
        if held:
            raise ConfigError(f"{str(out)!r} holds {held[0]} of another database; choose another folder")
        return
    try:
        before = json.loads(path.read_bytes())
        pairs = [
            (part, name, before[part].get(name), value)
            for part in ("tasks", "images", "supernet")
            for name, value in made_of[part].items()
        ]
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        raise ConfigError(f"{str(path)!r} cannot be read ({error}); choose another folder, or remove it") from error
    for part, name, was, value in pairs:
        if was != value:
            raise ConfigError(
                f"{str(out)!r} holds a database with other {part}: {name} is {was!r} there and {value!r} here; choose "
                "another folder, or the same settings"
            )
    if other := [name for name in held if name.startswith("rows") and name not in files]:
        raise ConfigError(f"{str(out)!r} holds {other[0]}, of another division into shards; go on with that one")


def _write_plan(plan: Plan, out: Path, made_of: dict[str, Any]) -> None:
    """Say what the database is made of."""
    if (out / "build.json").exists():
        return
    for name, text in plan.files().items():
        write_atomically(out / name, text.encode())
    write_atomically(out / "build.json", (json.dumps(made_of, indent=1) + "\n").encode())


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise CheckpointError(f"cannot read the supernet {str(path)!r}: {error.strerror}") from error


# -- the supernet ----------------------------------------------------------------------------------
def _supernet(plan: Plan, out: Path, supernet: SupernetConfig | Path, progress: Progress) -> Path:
    """The file of weights; trains them if that is asked for and not done."""
    if not isinstance(supernet, SupernetConfig):
        return supernet
    path = out / "supernet.safetensors"
    if path.exists():
        return path
    parts = [plan.parts[label] for label in plan.usable.tolist()]
    train, held_out = (np.concatenate(indices) for indices in zip(*parts, strict=True))
    features = None
    if supernet.teacher is not None:
        images, teacher = plan.images.subset(train), supernet.teacher
        with _without_warnings():
            features = extract_task(images, teacher, max_images_per_class=None, device=supernet.device).features
    trained = train_supernet(
        _labelled(plan, train, supernet.input_size),
        _labelled(plan, held_out, supernet.input_size),
        len(plan.usable),
        supernet,
        features=features,
        run_dir=out / "supernet",
        on_epoch=lambda e: progress(
            "supernet", e.epoch, supernet.epochs, f"largest {e.largest:.1f}%, smallest {e.smallest:.1f}%"
        ),
    )
    save_supernet(path, trained)
    return path


def _labelled(plan: Plan, indices: np.ndarray, size: int) -> LabelledImages:
    labels = np.searchsorted(plan.usable, plan.images.labels[indices])
    return LabelledImages(plan.images.images(indices, size), torch.from_numpy(labels))


# -- rows ------------------------------------------------------------------------------------------
def _measure(
    job: Job,
    path: Path,
    numbers: Sequence[int],
    done: set[int],
    workers: int,
    ray: str | None,
    progress: Progress,
) -> None:
    """Append the rows that are not there."""
    left = [number for number in numbers if number not in done]
    progress("rows", len(done), len(numbers), "")
    if not left:
        return
    if ray is not None:
        measured = _on_ray(job, left, ray)
    elif workers > 1:
        measured = _in_processes(job, left, workers)
    else:
        measured = _here(job, left)
    begin = time.perf_counter()
    with closing(measured), _written(path), path.open("ab", buffering=0) as file:
        for count, row in enumerate(measured, 1):
            _append(file, row)
            each = (time.perf_counter() - begin) / count
            progress("rows", len(done) + count, len(numbers), f"{each:.2f} s a row")


def _append(file: IO[bytes], row: Sequence[str]) -> None:
    """One write, and on the disk when it returns: a row is there or not."""
    line = (",".join(row) + "\n").encode()
    if file.write(line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(file.fileno())


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Raises `ConfigError` where a row cannot be written; what was written of it is cut off by the next call."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot write {str(path)!r}: {reason}; mend that and run the same command again") from error


def _finished(path: Path, numbers: set[int]) -> set[int]:
    """Numbers of the rows in a file, of which a last line without an end is cut off.

    Raises:
        DatasetError: the file holds something else; nothing of it is changed.
    """
    header = ",".join(COLUMNS) + "\n"
    if not path.exists():
        with _written(path):
            write_atomically(path, header.encode())
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    try:
        lines = list(csv.reader(whole.decode().splitlines()))
        found = [int(line[0]) for line in lines[1:]]
    except (ValueError, IndexError):
        lines, found = [], []
    if lines[:1] != [list(COLUMNS)] or len(set(found)) < len(found) or not numbers.issuperset(found):
        raise DatasetError(
            f"{str(path)!r} holds something else than rows of this database; move it away, and the rows are measured "
            "again"
        )
    if whole != content:
        os.truncate(path, len(whole))
    return set(found)


@contextmanager
def _alone(path: Path, wait: bool = False) -> Iterator[None]:
    """Nobody else is between these lines; the lock goes with the process that holds it.

    Raises:
        ConfigError: somebody is, and `wait` is not set; or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=-1 if wait else 0)
        lock.acquire()
    except Timeout:
        written = str(path.with_suffix(""))
        raise ConfigError(f"another process is writing {written!r}; wait for it, or stop it") from None
    except OSError as error:
        raise ConfigError(f"cannot write into {str(path.parent)!r}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# -- processes -------------------------------------------------------------------------------------
_Rows = Generator[list[str], None, None]
_worker: Worker


def _here(job: Job, numbers: Sequence[int]) -> _Rows:
    worker = Worker(job)
    for number in numbers:
        yield worker.measure(number)


def _in_processes(job: Job, numbers: Sequence[int], workers: int) -> _Rows:
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start, (job, os.getpid()))
    left = iter(numbers)
    try:
        with _unheard_interrupts():
            pending: set[Future[list[str]]] = {pool.submit(_measure_here, n) for n in islice(left, 2 * workers)}
        while pending:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            pending |= {pool.submit(_measure_here, n) for n in islice(left, len(finished))}
            for future in finished:
                yield future.result()
    except BrokenProcessPool as error:
        raise ConfigError(
            "a worker process died, killed or out of memory; run the same command again, perhaps with fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _unheard_interrupts() -> Iterator[None]:
    """Processes started meanwhile do not hear Ctrl-C: this one does, and ends them in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start(job: Job, parent: int) -> None:
    global _worker  # noqa: PLW0603 - what the process is for
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    _worker = Worker(job)


def _die_with(parent: int) -> None:
    """Workers of a process that was killed would wait for ever."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _measure_here(number: int) -> list[str]:
    return _worker.measure(number)


def _on_ray(job: Job, numbers: Sequence[int], address: str) -> _Rows:
    """One actor for each CPU of the cluster that is free."""
    import ray
    from ray.util import ActorPool

    mine = not ray.is_initialized()
    try:
        if mine:
            ray.init(address=address, log_to_driver=False)
        actor = ray.remote(num_cpus=1)(Worker)
        actors = [actor.remote(job) for _ in range(max(1, int(ray.available_resources().get("CPU", 1))))]
        yield from ActorPool(actors).map_unordered(lambda a, number: a.measure.remote(number), numbers)
    except (ConnectionError, ray.exceptions.RayError) as error:
        raise ConfigError(f"Ray at {address!r}: {str(error).strip().splitlines()[-1]}") from error
    finally:
        if mine:
            ray.shutdown()
