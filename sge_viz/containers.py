"""Check that a picture file is whole and not too large, by its bytes, before any decoder runs.

Decoders are lenient: Pillow accepts a JPEG that lost its end and a PNG that lost its last rows, and
keeps metadata. The readers here walk each format's own structure, refuse what is too large or not
whole, and hand on a `Container`: the same picture, without anything that its pixels do not need.

Formats: JPEG (ITU-T T.81), PNG (W3C, third edition), WebP (RFC 9649), BMP (Windows DIB), GIF (89a).
"""

import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NoReturn

from sge_viz.file_kinds import BadPicture, damaged, not_supported, picture_format

MAX_PIXELS = 20_000_000
MAX_SIDE = 10_000
MAX_ASPECT = 20

# Compressed text and colour profiles: far above what real files hold, far below a bomb.
_MAX_METADATA_CHUNK = 2**20
_MAX_METADATA = 2**23
# Each scan of a progressive JPEG passes over the whole picture; real files have about ten.
_MAX_SCANS = 64
# Segments of a JPEG, chunks of a PNG: a file of 10 MB has a thousand, unless it is made to be slow.
_MAX_PARTS = 50_000


@dataclass(frozen=True)
class Container:
    """A picture file that is whole and within the limits, without its metadata.

    Attributes:
        format: "JPEG", "PNG", "WEBP", "BMP" or "GIF", as Pillow calls them.
        pixels: a file of that format for the decoder.
        frames: number of frames of an animation; 1 for a still picture.
        orientation: EXIF orientation, 1 (upright) to 8; 1 where it is missing or senseless.
        bits: bits a channel as stored, 1 to 16 (PNG); 8 for the other formats.
    """

    format: str
    pixels: bytes
    frames: int = 1
    orientation: int = 1
    bits: int = 8


def read_container(data: bytes) -> Container:
    """Identify a picture file by its content and check it, without decoding its pixels.

    Args:
        data: the whole file.

    Returns:
        The picture's container.

    Raises:
        BadPicture: the file is not a picture, of another format, damaged, or too large.
    """
    readers = {"JPEG": _jpeg, "PNG": _png, "WEBP": _webp, "BMP": _bmp, "GIF": _gif}
    reader = readers[picture_format(data)]
    try:
        return reader(data)
    except (struct.error, IndexError):
        damaged("it ends too early")


def check_size(width: int, height: int) -> None:
    """Refuse a picture that is too large to decode or too thin to resize.

    Args:
        width: in pixels.
        height: in pixels.

    Raises:
        BadPicture: a size beyond MAX_ASPECT, MAX_SIDE or MAX_PIXELS, or of zero.
    """
    if width < 1 or height < 1:
        damaged(f"it claims a size of {width}x{height} pixels")
    aspect = max(width, height) / min(width, height)
    if aspect > MAX_ASPECT:
        raise BadPicture(
            f"The picture is {width}x{height} pixels, an aspect ratio of {aspect:.5g}; "
            f"the limit is {MAX_ASPECT}: crop it."
        )
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise BadPicture(
            f"The picture is {width}x{height} = {width * height:,} pixels; the limits are "
            f"{MAX_PIXELS // 10**6} megapixels and {MAX_SIDE:,} pixels a side: make it smaller."
        )


def _orientation(exif: bytes) -> int:
    """Orientation (tag 0x0112) in an EXIF block, which is a TIFF file; 1 where there is none."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, directory)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if tag == 0x0112 and kind in (3, 4):  # SHORT, LONG
                (value,) = struct.unpack_from(order + "xxHI"[kind - 1], exif, entry + 8)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


# ------------------------------------------------------------------------------------------- JPEG

_JPEG_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_JPEG_ALONE = (0x00, 0x01, *range(0xD0, 0xD9))  # codes that are not followed by a segment
_JPEG_PROGRESSIVE = 0xC2
_JPEG_COEFFICIENTS = 2**64 - 1  # of a block of 8x8
_JPEG_FRAMES = tuple(code for code in range(0xC0, 0xD0) if code not in (0xC4, 0xC8, 0xCC))
# Application data and comments. APP0 (JFIF) and APP14 (Adobe) tell the colour space and stay.
_JPEG_METADATA = (*range(0xE1, 0xEE), 0xEF, 0xFE)


def _jpeg(data: bytes) -> Container:
    kept, exif, framed, scans, first_scan = [b"\xff\xd8"], b"", False, 0, 0
    missing: dict[int, int] = {}  # by component, of a progressive picture
    for code, body in _jpeg_segments(data):
        if code in _JPEG_FRAMES:
            precision, height, width = struct.unpack_from(">BHH", body, 2)
            check_size(width, height)
            if precision != 8:
                not_supported(f"a JPEG picture of {precision} bits a channel")
            if framed:
                damaged("it has two headers")
            framed = True
            components = body[8 : 8 + 3 * body[7] : 3] if code == _JPEG_PROGRESSIVE else b""
            missing = dict.fromkeys(components, _JPEG_COEFFICIENTS)
        if code == 0xE1 and body[2:].startswith(b"Exif\0") and not exif:
            exif = body[2:]
        if code not in _JPEG_METADATA:
            kept.append(b"\xff" + bytes([code]) + body)
        if code == 0xDA:
            scans += 1
            first_scan = first_scan or len(kept)
            for component in missing.keys() & set(body[3 : 3 + 2 * body[2] : 2]):
                missing[component] &= ~_jpeg_finished(body)
    if not framed or not 1 <= scans <= _MAX_SCANS:
        damaged(f"it has {scans} scans of pixels")
    if any(missing.values()):
        damaged("a part of the picture is missing")
    if scans == 1:
        # At the end marker libjpeg paints the missing rest of a cut picture grey and says nothing;
        # without the marker it waits for more. Eight zero bytes fill its bit buffer, so that a
        # whole picture still decodes. (Several scans decode only at the marker.)
        kept[first_scan:] = [bytes(8)]
    else:
        kept.append(b"\xff\xd9")
    return Container("JPEG", b"".join(kept), orientation=_orientation(exif))


def _jpeg_finished(scan: bytes) -> int:
    """Bit k is set where a progressive scan brings coefficient k to its last bit."""
    first, last, bits = struct.unpack_from("BBB", scan, 3 + 2 * scan[2])
    if bits & 15:  # a later scan refines them
        return 0
    return int((1 << last + 1) - (1 << first))


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker codes with what follows each (length, body, entropy-coded data), up to the end."""
    position = 2
    for _ in range(_MAX_PARTS):
        position = data.find(b"\xff", position)
        if position < 0:
            damaged("it has no end marker, so a part of the picture is missing")
        while data[position] == 0xFF:  # any number of these may stand before a marker's code
            position += 1
        code = data[position]
        position += 1
        if code == 0xD9:
            return
        if code in _JPEG_ALONE:
            continue
        (length,) = struct.unpack_from(">H", data, position)
        end = position + max(length, 2)
        if code == 0xDA:
            following = _JPEG_NEXT_MARKER.search(data, end)
            end = following.start() if following else len(data)
        yield code, data[position:end]
        position = end
    _too_many_parts()


# -------------------------------------------------------------------------------------------- PNG

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Adam7's seven passes: first column, first row, column step, row step.
_PNG_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4),
               (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # fmt: skip


def _png(data: bytes) -> Container:
    kept, frames, exif, unfolded = [_PNG_SIGNATURE], 1, b"", 0
    header, pixels = b"", []
    for kind, body, chunk in _png_chunks(data):
        if (kind == b"IHDR") == bool(header):
            damaged("its header is not in its place")
        if kind == b"IHDR":
            header = body
            check_size(*struct.unpack_from(">II", header))
        elif kind == b"IDAT":
            pixels.append(body)
        elif kind == b"eXIf":
            exif = body
        elif kind == b"acTL":
            (frames,) = struct.unpack_from(">I", body)
        elif kind in (b"zTXt", b"iTXt", b"iCCP"):
            unfolded += _unfolded_metadata(kind, body)
            if unfolded > _MAX_METADATA:
                _refuse_bomb()
        if kind in _PNG_KEPT:
            kept.append(chunk)
    needed = _png_pixel_bytes(header)
    try:
        if _inflated_size(pixels, needed) < needed:
            damaged("a part of the picture is missing")
    except zlib.error:
        damaged("its pixels cannot be unpacked")
    return Container("PNG", b"".join(kept), max(frames, 1), _orientation(exif), header[8])


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Kind, body and the chunk as a whole, each with a right checksum, up to and with IEND."""
    if not data.startswith(_PNG_SIGNATURE):
        damaged("its first bytes are wrong")
    position = len(_PNG_SIGNATURE)
    for _ in range(_MAX_PARTS):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        chunk = data[position:end]
        if zlib.crc32(memoryview(chunk)[4:-4]) != checksum:
            damaged("the checksum of one of its parts is wrong")
        yield kind, chunk[8:-4], chunk
        position = end
        if kind == b"IEND":
            return
    _too_many_parts()


def _png_pixel_bytes(header: bytes) -> int:
    """Number of bytes that the rows of a PNG (each with its filter byte) have when unpacked."""
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    passes = _PNG_PASSES if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, step_x, step_y in passes:
        columns, rows = -((left - width) // step_x), -((top - height) // step_y)
        if columns > 0:
            total += rows * (1 + (columns * bits * _PNG_CHANNELS.get(colour, 0) + 7) // 8)
    return total


def _unfolded_metadata(kind: bytes, body: bytes) -> int:
    """Size in bytes of a compressed text or colour profile; refuses it when it is a bomb."""
    _, _, rest = body.partition(b"\0")
    if kind == b"iTXt":
        if not rest.startswith(b"\1"):  # not compressed
            return 0
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        rest = rest[1:]
    try:
        size = _inflated_size([rest], _MAX_METADATA_CHUNK)
    except zlib.error:  # metadata that nobody can read harms nobody
        return 0
    if size > _MAX_METADATA_CHUNK:
        _refuse_bomb()
    return size


def _too_many_parts() -> NoReturn:
    damaged(f"it is in more than {_MAX_PARTS:,} parts")


def _refuse_bomb() -> NoReturn:
    raise BadPicture(
        "The file holds metadata that unfold to far more than a picture needs (a decompression "
        "bomb); save the picture anew without metadata."
    )


def _inflated_size(streams: Iterable[bytes], limit: int) -> int:
    """Bytes that a zlib stream (in parts) unfolds to, counted without keeping them.

    Counting stops soon after `limit`. Raises zlib.error for a broken stream.
    """
    inflater = zlib.decompressobj()
    size = 0
    for stream in streams:
        for start in range(0, len(stream), 2**14):
            piece = stream[start : start + 2**14]
            while piece and size <= limit and not inflater.eof:
                size += len(inflater.decompress(piece, 2**18))
                piece = inflater.unconsumed_tail
    return size


# --------------------------------------------------------------------------------- WebP, BMP, GIF


def _webp(data: bytes) -> Container:
    (length,) = struct.unpack_from("<I", data, 4)
    end = 8 + length
    if end > len(data):
        damaged("a part of the picture is missing")
    position, frames, exif = 12, 0, b""
    while position + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, position)
        body = data[position + 8 : position + 8 + length]
        if position + 8 + length > end:
            damaged("a part of the picture is missing")
        if kind == b"VP8X":
            wide, high = (int.from_bytes(body[at : at + 3], "little") for at in (4, 7))
            check_size(wide + 1, high + 1)
        elif kind == b"VP8L":
            (packed,) = struct.unpack_from("<I", body, 1)
            check_size((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1)
        elif kind == b"VP8 ":
            wide, high = struct.unpack_from("<HH", body, 6)
            check_size(wide & 0x3FFF, high & 0x3FFF)
        elif kind == b"EXIF":
            exif = body
        frames += kind == b"ANMF"
        position += 8 + length + length % 2
    return Container("WEBP", data[:end], max(frames, 1), _orientation(exif))


def _bmp(data: bytes) -> Container:
    (header_size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header_size == 12 else "<ii", data, 18)
    check_size(width, abs(height))  # a negative height means that the first row comes first
    return Container("BMP", data)


def _gif(data: bytes) -> Container:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + _gif_palette(flags)
    header, control, first, frames = data[:position], b"", b"", 0
    while data[position] != 0x3B:  # the trailer
        start, kind = position, data[position]
        if kind == 0x21:  # an extension
            position = _gif_blocks_end(data, start + 2)
            if data[start + 1] == 0xF9 and not frames:
                control = data[start:position]
        elif kind == 0x2C:  # a frame
            left, top, wide, high, flags = struct.unpack_from("<HHHHB", data, start + 1)
            position = _gif_blocks_end(data, start + 11 + _gif_palette(flags))
            if not (wide and high):
                damaged("one of its frames is empty")
            if not frames:  # Pillow enlarges the screen to what the first frame covers
                check_size(max(width, left + wide), max(height, top + high))
                first = data[start:position]
            frames += 1
        elif kind == 0:  # some encoders close a frame twice
            position += 1
        else:
            damaged("one of its parts is of no known kind")
    if not frames:
        damaged("it holds no picture")
    return Container("GIF", header + control + first + b";", frames)


def _gif_palette(flags: int) -> int:
    """Size in bytes of the palette that a GIF's flags announce."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _gif_blocks_end(data: bytes, position: int) -> int:
    """Where a chain of blocks, each with its length before it, ends (after its closing zero)."""
    while data[position]:
        position += 1 + data[position]
    return position + 1
