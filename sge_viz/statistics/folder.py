"""A folder of pictures as a list in a fixed order, and its batches from worker processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sge_viz.images import BadPicture, open_picture, prepare
from sge_viz.statistics.moments import Counts

EXTENSIONS = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"))

Loaded = tuple[Tensor, Tensor, list[tuple[int, str]]]
"""Places (B,), pictures (B, 3, H, W), and (place, reason) of those that were refused."""


@dataclass(frozen=True, eq=False)
class Folder:
    """The pictures below a folder, in the order of their paths.

    Attributes:
        root: The folder.
        paths: Paths below it, with forward slashes, sorted.
        sizes: Bytes of each file.
        classes: Names of its sub-folders, sorted, if every picture lies in one; otherwise none.
    """

    root: Path
    paths: tuple[str, ...]
    sizes: tuple[int, ...]
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def labels(self) -> Counts:
        """Each picture's place in `classes`, (len,); all 0 without classes."""
        if not self.classes:
            return np.zeros(len(self), np.int64)
        place = {name: index for index, name in enumerate(self.classes)}
        return np.array([place[path.split("/")[0]] for path in self.paths], np.int64)

    @cached_property
    def sha256(self) -> str:
        """Hash of all paths and file sizes: another list, or a file of another size, differs."""
        lines = (f"{path}\0{size}\n" for path, size in zip(self.paths, self.sizes, strict=True))
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def read_folder(root: str | os.PathLike[str]) -> Folder:
    """List the pictures below a folder by their extensions (JPEG, PNG, WebP, BMP, GIF).

    Hidden files and folders are left out; links are followed.

    Raises:
        ValueError: It is no folder, or there is no picture in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder: give a folder with pictures.")
    found = sorted(_walk(root))
    if not found:
        kinds = ", ".join(sorted(kind[1:] for kind in EXTENSIONS))
        raise ValueError(f"There is no picture in {root} (looked for {kinds}).")
    paths = tuple(path for path, _ in found)
    nested = all("/" in path for path in paths)
    classes = tuple(sorted({path.split("/")[0] for path in paths})) if nested else ()
    return Folder(root, paths, tuple(size for _, size in found), classes)


def _walk(root: Path) -> Iterator[tuple[str, int]]:
    seen = set()
    for place, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        # A link to a folder above would lead round in circles.
        folders[:] = [] if real in seen else [name for name in folders if name[0] != "."]
        if real in seen:
            continue
        seen.add(real)
        for name in files:
            path = Path(place, name)
            if name[0] != "." and path.suffix.lower() in EXTENSIONS and path.exists():
                yield path.relative_to(root).as_posix(), path.stat().st_size


class _Inputs(Dataset[tuple[int, Tensor | str]]):
    """Each picture prepared for the network, or the sentence that refuses it."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def __len__(self) -> int:
        return len(self._folder)

    def __getitem__(self, place: int) -> tuple[int, Tensor | str]:
        try:
            picture = open_picture(self._folder.root / self._folder.paths[place])
            return place, prepare(picture).tensor[0]
        except BadPicture as error:
            return place, str(error)


def _collate(samples: list[tuple[int, Tensor | str]]) -> Loaded:
    good = [(place, item) for place, item in samples if isinstance(item, Tensor)]
    bad = [(place, item) for place, item in samples if isinstance(item, str)]
    pictures = [item for _, item in good]
    stacked = torch.stack(pictures) if pictures else torch.empty(0, 3, 0, 0)
    return torch.tensor([place for place, _ in good], dtype=torch.int64), stacked, bad


def load(
    folder: Folder, batches: Sequence[Sequence[int]], workers: int = 0, pin: bool = False
) -> DataLoader[Loaded]:
    """Prepare batches of pictures, in the order given, in worker processes.

    Args:
        folder: The pictures.
        batches: Places of the pictures of each batch.
        workers: Worker processes; 0 prepares them in this one.
        pin: Put batches into pinned memory, for a GPU.
    """
    return DataLoader(
        _Inputs(folder),  # type: ignore[arg-type]  # a batch is what _collate makes
        batch_sampler=[list(batch) for batch in batches],
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pin,
    )
