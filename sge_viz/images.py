"""Pictures in: the only door for untrusted bytes, and the preprocessing for a network.

`open_picture` turns bytes into an upright RGB `Picture` or refuses them with a sentence; `prepare`
turns a `Picture` into a network's input that knows which part of the picture it covers. Colours are
used as stored, without colour management, because the networks were trained so.
"""

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from numbers import Integral
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageFile
from torchvision.transforms import functional  # type: ignore[import-untyped]

from sge_viz.containers import MAX_PIXELS, Container, check_size, read_container
from sge_viz.file_kinds import BadPicture

__all__ = ["BadPicture", "ModelInput", "Picture", "open_picture", "prepare"]

MAX_BYTES = 10 * 2**20
MAX_INPUT_PIXELS = 4_000_000
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

Box = tuple[float, float, float, float]

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MODES = {"1": "black and white", "L": "grey", "LA": "grey", "P": "a palette", "CMYK": "CMYK"}
_PILLOW = threading.Lock()


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright RGB picture without metadata.

    Attributes:
        image: 8-bit RGB, upright, with an empty `info`.
        original_size: (width, height) in pixels of the picture as uploaded, upright.
        format: "JPEG", "PNG", "WEBP", "BMP" or "GIF".
        notes: what was done to the picture on the way in, a sentence each.
        sha256: of the file's bytes, in hexadecimal.
        name: the file's bare name, None where there is none; never a path.
    """

    image: Image.Image
    original_size: tuple[int, int]
    format: str
    notes: tuple[str, ...]
    sha256: str
    name: str | None = None


def open_picture(source: str | os.PathLike[str] | bytes | BinaryIO | None) -> Picture:
    """Read a picture from somewhere that is not trusted.

    Args:
        source: a path, a file's bytes, or a binary file object (read from its start if it seeks).

    Returns:
        The (first frame of the) picture, upright and in RGB on white.

    Raises:
        BadPicture: nothing was chosen, or the file cannot be read, is no supported picture, is
            damaged or too large. The text is one sentence for the person who chose it.
    """
    name = _bare_name(source)
    try:
        data = _read(source)
        container = read_container(data)
        image, notes = _decode(container)
    except BadPicture as error:
        shown = f"{name}: " if name else ""
        raise BadPicture(f"{shown}{error}") from error.__cause__
    return Picture(
        image=image,
        original_size=image.size,
        format=container.format,
        notes=tuple(notes),
        sha256=hashlib.sha256(data).hexdigest(),
        name=name,
    )


def _bare_name(source: object) -> str | None:
    """Last part of a path or of a file object's name, safe to print in one line."""
    name = source if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
    if not isinstance(name, str | os.PathLike):
        return None
    last = os.fsdecode(name).replace("\\", "/").rstrip("/").rpartition("/")[2]
    return "".join(c for c in last if c.isprintable() and c not in "<>")[-80:] or None


def _read(source: Any) -> bytes:
    """All bytes of a source; reads no more than one byte beyond the limit."""
    if source is None or (isinstance(source, str) and not source):
        raise BadPicture("Choose a picture.")
    if isinstance(source, bytes | bytearray | memoryview):
        _check_bytes(memoryview(source).nbytes)
        return bytes(source)
    try:
        if not isinstance(source, str | os.PathLike):
            return _read_file(source)
        path = Path(source)
        if path.is_dir():
            raise BadPicture("This is a folder; choose a picture.")
        if not path.is_file():  # nothing, or something like a pipe, which would block
            raise BadPicture("There is no such file; choose a picture.")
        with path.open("rb") as file:
            return _read_file(file)
    except BadPicture:
        raise
    except Exception as error:  # whatever an unreadable disk or a caller's file object raises
        raise BadPicture("The file cannot be read; choose it again.") from error


def _read_file(file: BinaryIO) -> bytes:
    if getattr(file, "seekable", bool)():
        file.seek(0, os.SEEK_END)
        _check_bytes(file.tell())
        file.seek(0)
    parts, left = [], MAX_BYTES + 1
    while left > 0 and (part := file.read(left)):
        parts.append(part)
        left -= len(part)
    data = b"".join(parts)
    _check_bytes(len(data))
    return data


def _check_bytes(size: int) -> None:
    if size > MAX_BYTES:
        raise BadPicture(
            f"The file is too large: at least {size:,} bytes, and the limit is "
            f"{MAX_BYTES // 2**20} MB ({MAX_BYTES:,} bytes); save the picture smaller."
        )


@contextmanager
def _strict_pillow() -> Iterator[None]:
    """Hold Pillow's process-wide switches at safe values, whatever other code set them to.

    One picture at a time passes, or one thread's end would undo another's beginning.
    """
    with _PILLOW:
        saved = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, MAX_PIXELS
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = saved


def _decode(container: Container) -> tuple[Image.Image, list[str]]:
    """Pixels of a container, upright in RGB, and what was done to them."""
    notes = []
    if container.frames > 1:
        notes.append(f"Only the first of {container.frames} frames is used.")
    try:
        with (
            _strict_pillow(),
            Image.open(BytesIO(container.pixels), formats=[container.format]) as image,
        ):
            check_size(*image.size)
            image.load()
            rgb = _on_white(image, container.bits, notes)
    except BadPicture:
        raise
    except Exception as error:  # decoders raise whatever broken bytes lead them to
        raise BadPicture(
            f"The file is damaged, or a rare kind of {container.format}: its pixels cannot be "
            "decoded; save or download it again."
        ) from error
    if container.orientation in _UPRIGHT:
        notes.append(f"Turned upright (EXIF orientation {container.orientation}).")
        rgb = rgb.transpose(_UPRIGHT[container.orientation])
    return rgb, notes


def _on_white(image: Image.Image, bits: int, notes: list[str]) -> Image.Image:
    """The picture as 8-bit RGB on white paper, with no metadata; says in `notes` what changed."""
    if image.mode in _MODES:
        notes.append(f"Converted from {_MODES[image.mode]} to RGB.")
    if bits == 16:
        notes.append("Scaled from 16 to 8 bits a channel.")
    transparent = image.info.get("transparency")
    if image.mode == "I;16":  # a plain convert would saturate it to white
        values = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    # Pillow keeps the transparent colour at the file's depth and compares it with 8-bit pixels.
    if isinstance(transparent, int) and image.mode == "L":
        top = 2**bits - 1
        image.info["transparency"] = round((transparent & top) * 255 / top)
    elif isinstance(transparent, tuple) and bits == 16:
        image.info["transparency"] = tuple(value >> 8 for value in transparent)
    paper = Image.new("RGB", image.size, "white")
    if not image.has_transparency_data:
        paper.paste(image.convert("RGB"))
        return paper
    image = image.convert("RGBA")
    alpha = image.getchannel("A")
    if alpha.getextrema() != (255, 255):
        notes.append("Transparent parts were laid on white.")
    paper.paste(image, mask=alpha)
    return paper


@dataclass(frozen=True, eq=False)
class ModelInput:
    """What a network is given, and which part of the picture it is.

    Attributes:
        tensor: (1, 3, H, W) float32, normalised with MEAN and STD.
        box: (left, top, right, bottom) of the part that the tensor covers, in pixels of the upright
            original; exact, so mostly not whole numbers.
        picture: the picture it was made from.
        size: (H, W) in pixels.
        preprocessing: what was done, for manifests.
    """

    tensor: torch.Tensor
    box: Box
    picture: Picture
    size: tuple[int, int]
    preprocessing: str

    def view(self) -> Image.Image:
        """The 8-bit RGB pixels that the network sees, (W, H) as `size`."""
        pixels = self.tensor[0].cpu() * torch.tensor(STD).view(3, 1, 1)
        pixels += torch.tensor(MEAN).view(3, 1, 1)
        return Image.fromarray((pixels * 255).round().byte().permute(1, 2, 0).numpy())

    def cell_box(self, row: int, column: int, shape: tuple[int, int]) -> Box:
        """Where a cell of a map lies in the original picture.

        Args:
            row: the cell's row in the map, 0 at the top.
            column: its column, 0 at the left.
            shape: (h, w) of the map; its cells tile the network's input evenly.

        Returns:
            (left, top, right, bottom) in pixels of the upright original.
        """
        left, top, right, bottom = self.box
        wide, high = (right - left) / shape[1], (bottom - top) / shape[0]
        return (
            left + column * wide,
            top + row * high,
            left + (column + 1) * wide,
            top + (row + 1) * high,
        )

    def cell_at(self, x: float, y: float, shape: tuple[int, int]) -> tuple[int, int] | None:
        """The (row, column) of a map's cell at a place of the original; None outside the box.

        Args:
            x: in pixels of the upright original, 0 at its left edge.
            y: in pixels, 0 at its upper edge.
            shape: (h, w) of the map.
        """
        left, top, right, bottom = self.box
        if not (left <= x < right and top <= y < bottom):
            return None
        row = int((y - top) / (bottom - top) * shape[0])
        column = int((x - left) / (right - left) * shape[1])
        return min(row, shape[0] - 1), min(column, shape[1] - 1)


def prepare(picture: Picture, size: str | int = "published") -> ModelInput:
    """Turn a picture into a network's input.

    Args:
        picture: from `open_picture`.
        size: "published" (shorter side to 256 pixels, centre crop of 224, as the networks were
            trained and tested), or the whole picture with its shorter side at this many pixels
            (224 to 896, a multiple of 32) and its longer side at the nearest multiple of 32, so
            that the cells of every layer's map tile the picture.

    Returns:
        The input with its place in the picture.

    Raises:
        ValueError: `size` is neither of these.
        BadPicture: the input would be larger than MAX_INPUT_PIXELS.
    """
    width, height = picture.image.size
    if size == "published":
        resized = functional.resize(picture.image, [256])
        # Where torchvision's CenterCrop cuts.
        left, top = (round((side - 224) / 2) for side in resized.size)
        view = resized.crop((left, top, left + 224, top + 224))
        x, y = width / resized.width, height / resized.height
        box = (left * x, top * y, (left + 224) * x, (top + 224) * y)
        done = "shorter side resized to 256 px (bilinear), centre crop of 224x224 px"
    else:
        target = _whole_size(width, height, size)
        view = functional.resize(picture.image, [target[1], target[0]])
        box = (0.0, 0.0, float(width), float(height))
        done = f"whole picture resized to {target[0]}x{target[1]} px (bilinear)"
    tensor = functional.normalize(functional.to_tensor(view), list(MEAN), list(STD))[None]
    return ModelInput(
        tensor=tensor,
        box=box,
        picture=picture,
        size=(view.height, view.width),
        preprocessing=f"RGB, {done}, mean {MEAN}, standard deviation {STD}",
    )


def _whole_size(width: int, height: int, shorter: object) -> tuple[int, int]:
    """(width, height) of the whole picture with its shorter side at a size that a person chose."""
    if isinstance(shorter, Integral) and not isinstance(shorter, bool):
        shorter = int(shorter)  # NumPy's integers too
    if type(shorter) is not int or not 224 <= shorter <= 896 or shorter % 32:
        raise ValueError(
            f"The input size {str(shorter)[:20]!r} is not known: choose 'published' or a multiple "
            "of 32 from 224 to 896."
        )
    scale = shorter / min(width, height) / 32
    target = max(1, round(width * scale)) * 32, max(1, round(height * scale)) * 32
    if target[0] * target[1] > MAX_INPUT_PIXELS:
        raise BadPicture(
            f"At {shorter} pixels on its shorter side this picture would be "
            f"{target[0]}x{target[1]} pixels, and the limit is {MAX_INPUT_PIXELS // 10**6} "
            "megapixels; choose a smaller input size."
        )
    return target
