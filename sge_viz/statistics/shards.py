"""Shards of a run on disk: each is written whole or not at all, and only its own job reads it."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from sge_viz.statistics.moments import Arrays
from sge_viz.statistics.plan import Job

UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    MemoryError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
"""All that reading a damaged .npz file, or one of another kind, may raise."""

_SPARSE = ("where", "value", "shape", "fill")
_TEMPORARY = ".part"


class WrongJob(ValueError):  # noqa: N818 - the text is the sentence a person reads
    """A folder holds the shards of another run."""


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file that appears whole or not at all, also when the machine stops."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=_TEMPORARY)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ShardStore:
    """The shards of one job in one folder.

    Args:
        folder: Where they lie; made if it is not there.
        job: The run they belong to.
    """

    def __init__(self, folder: Path, job: Job) -> None:
        self._folder, self._job = folder, job

    def open(self) -> None:
        """Make the folder, or check that it is this job's.

        Raises:
            WrongJob: It holds another job's shards; the text says what differs.
            ValueError: The folder cannot be used.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            record = self._folder / "job.json"
            if record.exists():
                self._check(json.loads(record.read_text("utf-8")))
            elif list(self._folder.glob("shard-*.npz")):
                raise WrongJob(f"{self._folder} holds shards without a job.json: empty it.")
            else:
                with replacing(record) as file:
                    file.write(json.dumps(self._job.record(), indent=2).encode())
        except (OSError, json.JSONDecodeError) as error:
            raise ValueError(f"{self._folder} cannot be used for shards: {error}.") from error

    def _check(self, stored: Any) -> None:
        words = self._job.differences(stored if isinstance(stored, dict) else {})
        if words:
            raise WrongJob(
                f"{self._folder} holds shards of another run: {'; '.join(words)}. Choose another "
                "folder, or delete this one to start again."
            )

    def clean(self) -> None:
        """Remove what killed processes left half written."""
        for path in self._folder.glob(f".*{_TEMPORARY}"):
            path.unlink(missing_ok=True)

    def path(self, number: int) -> Path:
        """Return where a shard lies."""
        return self._folder / f"shard-{number:06d}.npz"

    def numbers(self, count: int) -> set[int]:
        """Return which of `count` shards are there and whole."""
        return {number for number in range(count) if _whole(self.path(number))}

    def save(self, number: int, data: bytes) -> None:
        """Store a shard."""
        with replacing(self.path(number)) as file:
            file.write(data)

    def read(self, number: int) -> bytes:
        """Return a shard's bytes."""
        return self.path(number).read_bytes()


def _whole(path: Path) -> bool:
    """Whether a shard is there and its checksums hold: a disk may have lost what was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except UNREADABLE:
        return False


def pack(arrays: Arrays, record: dict[str, Any]) -> bytes:
    """Pack arrays and a JSON record; an array of mostly one value by its other values only."""
    packed: Arrays = {"record": np.frombuffer(json.dumps(record).encode(), np.uint8)}
    for name, array in arrays.items():
        packed |= _sparse(name, array) or {name: array}
    buffer = BytesIO()
    np.savez(buffer, allow_pickle=False, **packed)
    return buffer.getvalue()


def _sparse(name: str, array: npt.NDArray[np.generic]) -> Arrays | None:
    """Pack an array that holds mostly zeros, or the extrema of nothing; None for another."""
    for fill in (0, np.inf, -np.inf):
        where = np.flatnonzero(array != fill)
        if 3 * where.size <= array.size:
            shape, rest = np.array(array.shape, np.int64), np.array(fill, array.dtype)
            parts = (where, array.reshape(-1)[where], shape, rest)
            return {f"{name}:{part}": a for part, a in zip(_SPARSE, parts, strict=True)}
        if array.dtype.kind != "f":
            break
    return None


def unpack(data: bytes) -> tuple[Arrays, dict[str, Any]]:
    """Read what `pack` gave."""
    with np.load(BytesIO(data), allow_pickle=False) as archive:
        packed = {name: archive[name] for name in archive.files}
    record = json.loads(packed.pop("record").tobytes())
    arrays: Arrays = {}
    for name, array in packed.items():
        base, _, part = name.rpartition(":")
        if part not in _SPARSE:
            arrays[name] = array
        elif part == "where":
            _, value, shape, fill = (packed[f"{base}:{part}"] for part in _SPARSE)
            full = np.full(tuple(shape), fill, value.dtype)
            full.reshape(-1)[array] = value
            arrays[base] = full
    return arrays, record
