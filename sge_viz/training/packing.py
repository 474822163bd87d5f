"""Pictures packed for distillation: squares of one size beside what the teacher sees in them.

The teacher looks at each picture once, here. Training then reads two flat arrays, in any order, and
no JPEG is decoded and no teacher runs in its loop; a GPU can hold them whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from sge_viz.checkpoints.files import written_atomically
from sge_viz.images import BadPicture, open_picture
from sge_viz.statistics.accuracy import wordnet_ids
from sge_viz.statistics.folder import Folder, read_folder
from sge_viz.training.settings import usual_precision
from sge_viz.training.teacher import Teacher, to_bytes
from sge_viz.training.views import whole_views

Bytes = npt.NDArray[np.uint8]
Progress = Callable[[int, int], None]
"""Called with pictures done and pictures in all."""

MANIFEST, PICTURES, FEATURES, CLASSIFIER = (
    "manifest.json",
    "pictures.npy",
    "features.npy",
    "classifier.npz",
)
CLASSES = 1000
Classes = tuple[int, int]
"""The first and the last of the ImageNet classes that a picture can show."""


_ANY: Classes = (0, CLASSES - 1)


class NotPacked(ValueError):  # noqa: N818 - the text is the sentence a person reads
    """A folder does not hold packed pictures, or the pictures cannot be packed."""


@dataclass(frozen=True)
class Source:
    """One folder of pictures in a pack.

    Attributes:
        name: The end of the folder's path that tells it from the others: mostly its last name.
        pictures: Pictures taken from it.
        labelled: Whether something is known of what its pictures show.
        held_out: Paths that were kept out, below the folder.
        refused: (path, reason) of pictures that cannot be read.
    """

    name: str
    pictures: int
    labelled: bool
    held_out: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Pack:
    """Packed pictures on disk.

    Attributes:
        root: Their folder.
        side: Pixels of each square.
        teacher: Name of the teacher.
        sources: Where they come from.
        labels: First and last ImageNet class that each picture can show, (N, 2) int64; all of
            them where nothing is known.
    """

    root: Path
    side: int
    teacher: str
    sources: tuple[Source, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def pictures(self) -> Tensor:
        """The squares, (N, side, side, 3) uint8, read from disk as they are needed."""
        return _mapped(self.root / PICTURES)[: len(self)]

    @cached_property
    def features(self) -> Tensor:
        """The teacher's features as bytes (see `teacher.to_bytes`), (N, h, w, F) uint8."""
        return _mapped(self.root / FEATURES)[: len(self)]

    @cached_property
    def classifier(self) -> tuple[Tensor, Tensor]:
        """Weight (K, F) and bias (K,) of the teacher's last layer."""
        with np.load(self.root / CLASSIFIER) as file:
            return torch.from_numpy(file["weight"]), torch.from_numpy(file["bias"])

    @cached_property
    def sha256(self) -> str:
        """Hash of the manifest, in which the hash of all squares stands."""
        return hashlib.sha256((self.root / MANIFEST).read_bytes()).hexdigest()


def pack(
    folders: Sequence[Path],
    out: Path,
    teacher: Teacher,
    *,
    side: int = 256,
    hold_out: int = 0,
    means: Mapping[str, Classes] | None = None,
    device: str = "cpu",
    batch: int = 64,
    progress: Progress | None = None,
) -> Pack:
    """Pack all pictures of some folders.

    Class folders named by WordNet id give ImageNet labels. Of other pictures is known what
    `means` says of the folder they lie in.

    Args:
        folders: Where the pictures are.
        out: Folder to write; what is packed there is replaced.
        teacher: Who looks at them.
        side: Pixels of the squares: the shorter side is resized to it, the centre is cut out.
        hold_out: Pictures kept out of each folder without labels, and listed: of each of its
            sub-folders an equal number, or one more, chosen by the hash of their paths.
        means: The classes that pictures in a folder of some name, in lower case, can show.
        device: Where the teacher runs.
        batch: Pictures a pass.
        progress: Told how far it is.

    Raises:
        NotPacked: No picture can be read, a folder is given twice, or a number is impossible.
        ValueError: A folder does not exist, or has no pictures.
    """
    if side < 32 or hold_out < 0:
        raise NotPacked(
            f"Squares of {side} pixels with {hold_out} pictures held out cannot be made: the side "
            "is 32 or more, the number 0 or more."
        )
    names = _names(folders)
    _check(means := means or {})
    lists = [_listed(Path(folder), hold_out, means) for folder in folders]
    total = sum(len(paths) for _, paths, _, _ in lists)
    if not total:
        raise NotPacked(f"All pictures would be held out ({hold_out}): there is nothing to pack.")
    out.mkdir(parents=True, exist_ok=True)
    (out / MANIFEST).unlink(missing_ok=True)
    pictures = _array(out / PICTURES, (total, side, side, 3))
    features: Bytes | None = None
    labels: list[Classes] = []
    sources = []
    content = hashlib.sha256()
    teacher = teacher.to(device).to(memory_format=torch.channels_last)
    for name, (folder, paths, targets, held_out) in zip(names, lists, strict=True):
        refused: list[tuple[str, str]] = []
        before = len(labels)
        for squares, places in _squares(folder, paths, side, batch, refused):
            done = len(labels)
            pictures[done : done + len(squares)] = squares
            content.update(squares.data)
            seen = _look(teacher, squares, device)
            if features is None:
                features = _array(out / FEATURES, (total, *seen.shape[1:]))
            features[done : done + len(seen)] = seen
            labels += [targets[place] for place in places]
            if progress is not None:
                progress(len(labels), total)
        count = len(labels) - before
        known = any(label != _ANY for label in labels[before:])
        sources.append(Source(name, count, known, held_out, tuple(refused)))
    if features is None:
        raise NotPacked("None of the pictures can be read: there is nothing to pack.")
    for array in (pictures, features):
        assert isinstance(array, np.memmap)
        array.flush()
    manifest = {
        "side": side,
        "teacher": teacher.name.title,
        "pictures": content.hexdigest(),
        "sources": [asdict(source) for source in sources],
        "labels": labels,
    }
    _finish(out, teacher, manifest)
    return open_pack(out)


def open_pack(root: str | os.PathLike[str]) -> Pack:
    """Open packed pictures.

    Raises:
        NotPacked: There are none in the folder.
    """
    root = Path(root)
    try:
        manifest: dict[str, Any] = json.loads((root / MANIFEST).read_text("utf-8"))
        sources = tuple(
            Source(
                entry["name"],
                entry["pictures"],
                entry["labelled"],
                tuple(entry["held_out"]),
                tuple((path, reason) for path, reason in entry["refused"]),
            )
            for entry in manifest["sources"]
        )
        labels = torch.tensor(manifest["labels"], dtype=torch.int64).view(-1, 2)
        if len(labels) != sum(source.pictures for source in sources):
            raise ValueError("another number of labels than of pictures")
        packed = Pack(root, int(manifest["side"]), str(manifest["teacher"]), sources, labels)
        if min(len(packed.pictures), len(packed.features)) < len(packed) or not packed.classifier:
            raise ValueError("arrays of fewer pictures than the manifest has")
        return packed
    except (OSError, ValueError, LookupError, TypeError, EOFError, BadZipFile) as error:
        raise NotPacked(
            f"{root} holds no packed pictures: make them with `python -m sge_viz train pack` "
            "(anew, if they are damaged)."
        ) from error


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the folders' paths that tell all of them apart."""
    parts = [Path(os.path.abspath(folder)).parts for folder in folders]  # noqa: PTH100
    for length in range(1, 1 + max(map(len, parts), default=0)):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise NotPacked("Give one or more folders, and each of them once.")


def _check(means: Mapping[str, Classes]) -> None:
    for name, (first, last) in means.items():
        if not 0 <= first <= last < CLASSES:
            raise NotPacked(
                f"{name} cannot mean the classes {first} to {last}: they go from 0 to "
                f"{CLASSES - 1}, the first of them before the last."
            )


def _listed(
    root: Path, hold_out: int, means: Mapping[str, Classes]
) -> tuple[Folder, list[str], list[Classes], tuple[str, ...]]:
    """Return a folder, the paths to pack with their labels, and those held out."""
    folder = read_folder(root)
    place = {name: index for index, name in enumerate(wordnet_ids())}
    if folder.classes and all(name in place for name in folder.classes):
        names = [folder.classes[index] for index in folder.labels]
        return folder, list(folder.paths), [(place[name], place[name]) for name in names], ()
    if {"train", "val"} <= set(folder.classes):
        raise NotPacked(
            f"{root} holds the folders train and val: give {root / 'train'}, so that pictures to "
            "measure on stay out of training."
        )
    kinds = folder.classes or ("",)
    share, left = divmod(hold_out, len(kinds))
    held: set[str] = set()
    for kind in range(len(kinds)):
        mine = [path for path, own in zip(folder.paths, folder.labels, strict=True) if own == kind]
        held |= set(sorted(mine, key=_lot)[: share + (kind < left)])
    paths = [path for path in folder.paths if path not in held]
    labels = [means.get((root / path).parent.name.lower(), _ANY) for path in paths]
    return folder, paths, labels, tuple(sorted(held))


def _lot(path: str) -> bytes:
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()


def _squares(
    folder: Folder, paths: list[str], side: int, batch: int, refused: list[tuple[str, str]]
) -> Iterator[tuple[Bytes, list[int]]]:
    """Decode pictures in threads, and yield batches of squares with their places in `paths`."""

    def decode(place: int) -> Bytes | str:
        try:
            return square(open_picture(folder.root / paths[place]).image, side)
        except BadPicture as error:
            return str(error)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for first in range(0, len(paths), batch):
            places = list(range(first, min(first + batch, len(paths))))
            answers = list(pool.map(decode, places))
            good = [item for item in answers if not isinstance(item, str)]
            refused += [
                (paths[place], item)
                for place, item in zip(places, answers, strict=True)
                if isinstance(item, str)
            ]
            kept = [p for p, item in zip(places, answers, strict=True) if not isinstance(item, str)]
            if good:
                yield np.stack(good), kept


def square(image: Image.Image, side: int) -> Bytes:
    """Return the centre square of a picture, (side, side, 3) uint8."""
    width, height = image.size
    edge = min(width, height)
    left, top = (width - edge) / 2, (height - edge) / 2
    box = (left, top, left + edge, top + edge)
    resized = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized.convert("RGB"))


def _look(teacher: Teacher, squares: Bytes, device: str) -> Bytes:
    """Return the teacher's features of squares as bytes, (B, h, w, F)."""
    pictures = torch.from_numpy(squares).to(device).permute(0, 3, 1, 2).float() / 255
    resized = whole_views(len(pictures)).of(pictures, teacher.side)
    resized = resized.contiguous(memory_format=torch.channels_last)
    faster = usual_precision(device) == "bfloat16"
    with torch.inference_mode(), torch.autocast(torch.device(device).type, torch.bfloat16, faster):
        seen = teacher(resized)
    return to_bytes(seen).permute(0, 2, 3, 1).cpu().numpy()


def _array(path: Path, shape: tuple[int, ...]) -> Bytes:
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    if hasattr(os, "posix_fallocate"):  # a full disk is an error now, and not a crash on the way
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:  # which names no file
                raise OSError(error.errno, error.strerror, str(path)) from error
    return array


def _mapped(path: Path) -> Tensor:
    # Copy-on-write, so that torch can take what nobody writes to.
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def _finish(out: Path, teacher: Teacher, manifest: dict[str, Any]) -> None:
    """Write what is beside the arrays; the manifest, which makes it a pack, last."""
    layer = teacher.classifier
    np.savez(out / CLASSIFIER, weight=layer.weight.cpu().numpy(), bias=layer.bias.cpu().numpy())
    written_atomically(out / MANIFEST, json.dumps(manifest).encode())
