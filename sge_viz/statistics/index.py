"""The strongest pictures of every group as one small file that is safe to open."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sge_viz.images import open_picture
from sge_viz.statistics.moments import Arrays, Counts, Floats
from sge_viz.statistics.shards import UNREADABLE, replacing
from sge_viz.statistics.strongest import RANKINGS

Halves = npt.NDArray[np.float16]

_KIND = "sge-viz index"
_VERSION = 1
_LARGEST = 4 * 2**30  # bytes when unpacked


class BadIndex(ValueError):  # noqa: N818 - the text is the sentence a person reads
    """A file that is not an index of strongest pictures, or a damaged one."""


@dataclass(frozen=True, eq=False)
class Maps:
    """The maps of the pictures in an index, each (picture, group) once.

    Attributes:
        entry: Which maps belong to a place of a ranking, (rankings, G, k); -1 for none.
        before: Norms before SGE, (entries, H, W) float16.
        gate: The gate, likewise.
    """

    entry: Counts
    before: Halves
    gate: Halves


@dataclass(frozen=True, eq=False)
class IndexedLayer:
    """One layer of an index; rankings in the order of `RANKINGS`.

    Attributes:
        title: Its two names and its map's size.
        map_size: (H, W) of its maps.
        score: (rankings, G, k) float64, best first.
        picture: Which of the index's pictures, (rankings, G, k); -1 where there are fewer than k.
        cell: The peak's cell in row-major order, (rankings, G, k).
        class_mean: Mean score over each class's pictures, (classes, rankings, G).
        mean: Mean score over all pictures, (rankings, G).
        std: Its standard deviation over all pictures, (rankings, G).
        maps: The pictures' maps, where they were asked for.
    """

    title: str
    map_size: tuple[int, int]
    score: Floats
    picture: Counts
    cell: Counts
    class_mean: Floats
    mean: Floats
    std: Floats
    maps: Maps | None = None


@dataclass(frozen=True, eq=False)
class Hit:
    """A picture that excites a group.

    Attributes:
        rank: 0 for the strongest.
        score: By the ranking.
        path: The file below the folder that was indexed.
        class_name: Its class folder, if there are classes.
        cell: (row, column) of the peak in the layer's map.
        box: (left, top, right, bottom) of that cell in what the network saw, parts from 0 to 1.
        thumbnail: What the network saw, small, as a JPEG file; None where there are none.
        before: The group's norms before SGE, (H, W); None where the index has no maps.
        gate: The gate, likewise; the norms after SGE are gate * before.
    """

    rank: int
    score: float
    path: str
    class_name: str | None
    cell: tuple[int, int]
    box: tuple[float, float, float, float]
    thumbnail: bytes | None
    before: npt.NDArray[np.float32] | None = None
    gate: npt.NDArray[np.float32] | None = None

    @property
    def after(self) -> npt.NDArray[np.float32] | None:
        """The group's norms after SGE, (H, W); None where the index has no maps."""
        if self.before is None or self.gate is None:
            return None
        product: npt.NDArray[np.float32] = np.abs(self.gate) * self.before
        return product

    def image(self) -> Image.Image | None:
        """Return the thumbnail as a picture; None where there is none.

        Raises:
            BadPicture: The file's thumbnail is damaged.
        """
        return None if self.thumbnail is None else open_picture(self.thumbnail).image


@dataclass(frozen=True)
class Preference:
    """A class that a group prefers.

    Attributes:
        name: The class folder.
        mean: Mean score over its pictures.
        lift: How far that lies above the mean over all pictures, in standard deviations over them.
    """

    name: str
    mean: float
    lift: float


@dataclass(frozen=True, eq=False)
class Index:
    """The strongest pictures of every group of some layers.

    Attributes:
        layers: By layer path, in forward order.
        paths: The pictures in it, below the folder that was indexed.
        labels: Each one's class; 0 without classes.
        thumbnails: Each one's, as JPEG files; None where there are none.
        provenance: Weights, pictures, versions.
    """

    layers: Mapping[str, IndexedLayer]
    paths: tuple[str, ...]
    labels: Counts
    thumbnails: tuple[bytes, ...] | None
    provenance: dict[str, Any]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the class folders; none without classes."""
        return tuple(self.provenance["classes"])

    @property
    def k(self) -> int:
        """How many pictures it holds a group and ranking."""
        return int(next(iter(self.layers.values())).score.shape[-1])

    def groups(self, layer: str) -> int:
        """Return the number of groups of a layer."""
        return int(self._layer(layer).score.shape[1])

    def strongest(
        self, layer: str, group: int, ranking: str = "after", k: int | None = None
    ) -> tuple[Hit, ...]:
        """Return the pictures that excite a group most, best first.

        Args:
            layer: A layer of the index.
            group: Counted from 0.
            ranking: One of `RANKINGS`.
            k: How many at most; None for all there are.

        Raises:
            ValueError: There is no such layer, group or ranking.
        """
        row = self._row(layer, group, ranking)
        pictures = self._layer(layer).picture[row, group][:k]
        return tuple(
            self._hit(layer, row, group, rank)
            for rank in range(len(pictures))
            if pictures[rank] >= 0
        )

    def tiles(self, layer: str, ranking: str = "after") -> tuple[Hit, ...]:
        """Return every group's strongest picture: what does each look for?

        Raises:
            ValueError: There is no such layer or ranking.
        """
        groups = range(self.groups(layer))
        return tuple(self.strongest(layer, group, ranking, 1)[0] for group in groups)

    def preferred_classes(
        self, layer: str, group: int, ranking: str = "after", count: int = 5
    ) -> tuple[Preference, ...]:
        """Return the classes that a group prefers, most preferred first; none without classes.

        Raises:
            ValueError: There is no such layer, group or ranking.
        """
        row, of = self._row(layer, group, ranking), self._layer(layer)
        means, std = of.class_mean[:, row, group], float(of.std[row, group])
        lifts = (means - of.mean[row, group]) / std if std > 0 else np.zeros(len(means))
        order = [i for i in np.argsort(-lifts, kind="stable") if np.isfinite(means[i])]
        named = order[:count] if self.classes else []
        return tuple(Preference(self.classes[i], float(means[i]), float(lifts[i])) for i in named)

    def _layer(self, layer: str) -> IndexedLayer:
        found = self.layers.get(layer.removesuffix(".sge"))
        if found is None:
            raise ValueError(f"The index has no layer {layer!r}; it has {', '.join(self.layers)}.")
        return found

    def _row(self, layer: str, group: int, ranking: str) -> int:
        if ranking not in RANKINGS:
            raise ValueError(f"There is no ranking {ranking!r}: choose {', '.join(RANKINGS)}.")
        if not 0 <= group < self.groups(layer):
            raise ValueError(
                f"There is no group {group}: groups go from 0 to {self.groups(layer) - 1}."
            )
        return list(RANKINGS).index(ranking)

    def _hit(self, layer: str, row: int, group: int, rank: int) -> Hit:
        of, at = self._layer(layer), (row, group, rank)
        picture = int(of.picture[at])
        height, width = of.map_size
        y, x = divmod(int(of.cell[at]), width)
        maps = None if of.maps is None else (of.maps, int(of.maps.entry[at]))
        return Hit(
            rank=rank,
            score=float(of.score[at]),
            path=self.paths[picture],
            class_name=self.classes[self.labels[picture]] if self.classes else None,
            cell=(y, x),
            box=(x / width, y / height, (x + 1) / width, (y + 1) / height),
            thumbnail=self.thumbnails[picture] if self.thumbnails else None,
            before=maps[0].before[maps[1]].astype(np.float32) if maps else None,
            gate=maps[0].gate[maps[1]].astype(np.float32) if maps else None,
        )

    def save(self, path: Path) -> None:
        """Write it as .npz without pickle; the file appears whole or not at all."""
        arrays: Arrays = {"labels": self.labels}
        if self.thumbnails is not None:
            arrays["thumbnails"] = np.frombuffer(b"".join(self.thumbnails), np.uint8)
            arrays["thumbnail_ends"] = np.cumsum([len(t) for t in self.thumbnails], dtype=np.int64)
        for layer, of in self.layers.items():
            for name in ("score", "picture", "cell", "class_mean", "mean", "std"):
                arrays[f"{layer}/{name}"] = getattr(of, name)
            if of.maps is not None:
                maps = {f"{layer}/maps/{name}": array for name, array in vars(of.maps).items()}
                arrays |= maps
        record = {
            "kind": _KIND,
            "version": _VERSION,
            "rankings": RANKINGS,
            "paths": self.paths,
            "layers": {
                layer: {"title": of.title, "map_size": of.map_size}
                for layer, of in self.layers.items()
            },
            "provenance": self.provenance,
        }
        with replacing(path) as file:
            text = np.frombuffer(json.dumps(record).encode(), np.uint8)
            np.savez_compressed(file, allow_pickle=False, record=text, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Index:
        """Read what `save` wrote; nothing in the file is run, and everything is checked.

        Raises:
            BadIndex: There is no such file, or it is not an index, or damaged.
        """
        path = Path(path)
        try:
            return cls._read(path)
        except FileNotFoundError as error:
            raise BadIndex(f"{path.name} does not exist: make it with `index`.") from error
        except UNREADABLE as error:
            raise BadIndex(
                f"{path.name} is not an index of strongest pictures, or it is damaged: make it "
                "again with `index`."
            ) from error

    @classmethod
    def _read(cls, path: Path) -> Index:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > _LARGEST:
                raise ValueError("too large")
        with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        record = json.loads(arrays["record"].tobytes())
        if record["kind"] != _KIND or record["version"] != _VERSION:
            raise ValueError("another kind of file")
        paths = tuple(_safe(name) for name in record["paths"])
        layers = {
            layer: _read_layer(arrays, layer, info, len(paths))
            for layer, info in record["layers"].items()
        }
        labels = arrays["labels"].astype(np.int64)
        classes = record["provenance"]["classes"]
        _check(bool(layers) and labels.shape == (len(paths),))
        _check(((labels >= 0) & (labels < max(1, len(classes)))).all())
        return cls(
            layers, paths, labels, _read_thumbnails(arrays, len(paths)), record["provenance"]
        )


def _read_layer(arrays: Arrays, layer: str, info: dict[str, Any], pictures: int) -> IndexedLayer:
    height, width = (int(side) for side in info["map_size"])
    of = {name: arrays[f"{layer}/{name}"] for name in ("score", "class_mean", "mean", "std")}
    picture, cell = (arrays[f"{layer}/{name}"].astype(np.int64) for name in ("picture", "cell"))
    shape = of["score"].shape
    _check(len(shape) == 3 and shape[0] == len(RANKINGS) and min(shape) > 0)
    _check(
        picture.shape == cell.shape == shape and of["mean"].shape == of["std"].shape == shape[:2]
    )
    _check(of["class_mean"].shape[1:] == shape[:2])
    _check(((picture >= -1) & (picture < pictures)).all() and (picture[..., 0] >= 0).all())
    _check(((cell >= 0) & (cell < height * width)).all())
    maps = None
    if f"{layer}/maps/entry" in arrays:
        entry = arrays[f"{layer}/maps/entry"].astype(np.int64)
        before, gate = (arrays[f"{layer}/maps/{n}"].astype(np.float16) for n in ("before", "gate"))
        _check(before.shape == gate.shape == (len(before), height, width))
        _check(entry.shape == shape and (entry < len(before)).all())
        _check(((entry >= 0) == (picture >= 0)).all())
        maps = Maps(entry, before, gate)
    numbers = {name: array.astype(np.float64) for name, array in of.items()}
    return IndexedLayer(
        title=str(info["title"]),
        map_size=(height, width),
        picture=picture,
        cell=cell,
        maps=maps,
        **numbers,
    )


def _read_thumbnails(arrays: Arrays, pictures: int) -> tuple[bytes, ...] | None:
    if "thumbnails" not in arrays:
        return None
    data, ends = arrays["thumbnails"].tobytes(), arrays["thumbnail_ends"].astype(np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    _check(len(ends) == pictures and (starts <= ends).all() and int(ends[-1]) == len(data))
    return tuple(data[start:end] for start, end in zip(starts, ends, strict=True))


def _safe(name: Any) -> str:
    """Let only paths through that lead below a folder."""
    parts = PurePosixPath(name).parts
    _check(bool(parts) and not name.startswith("/") and ".." not in parts and "\\" not in name)
    return str(name)


def _check(holds: Any) -> None:
    if not holds:
        raise ValueError("the file's parts do not fit together")
