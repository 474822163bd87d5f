"""Bad and odd pictures as bytes, made by functions: `REFUSED` with their answers, and `WELCOME`."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, PngImagePlugin

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def photo(width: int = 64, height: int = 48) -> Image.Image:
    """A noisy gradient: every pixel matters, and no two rows or columns are alike."""
    noise = np.random.default_rng(0).integers(0, 60, (height, width, 3))
    ramp = np.linspace(0, 190, width)[None, :, None] + np.zeros((height, 1, 1))
    return Image.fromarray((noise + ramp).astype(np.uint8))


def saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


# ------------------------------------------------------------------------------------------- PNG


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, position = [], 8
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        chunks.append((kind, data[position + 8 : position + 8 + length]))
        position += 12 + length
    return chunks


def png_with(kind: bytes, body: bytes, *, after_pixels: bool = False) -> bytes:
    """A good PNG with one chunk more."""
    chunks = png_chunks(saved(photo(), "PNG"))
    chunks.insert(len(chunks) - 1 if after_pixels else 1, (kind, body))
    return SIGNATURE + b"".join(chunk(*c) for c in chunks)


def png_raw(
    rows: bytes,
    width: int,
    height: int,
    bits: int = 8,
    colour: int = 2,
    extra: bytes = b"",
    interlace: int = 0,
) -> bytes:
    """A PNG from its unpacked rows, each with its filter byte; right checksums."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace)
    pixels = zlib.compress(rows)
    return SIGNATURE + chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND")


def png_16bit(values: np.ndarray, extra: bytes = b"") -> bytes:
    """(H, W, C) of 0..65535 as a 16-bit PNG with C = 1, 2, 3 or 4 channels."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png_raw(rows, width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], extra)


def png_flipped(kind: bytes) -> bytes:
    """A good PNG with text, one byte of which is flipped in the middle of the named chunk."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "hello")
    data = bytearray(saved(photo(), "PNG", pnginfo=text))
    at = data.index(kind)
    (length,) = struct.unpack_from(">I", data, at - 4)
    data[at + 4 + length // 2] ^= 0x10
    return bytes(data)


def png_short_of_rows(interlace: int = 0) -> bytes:
    """Whole by every checksum, but with the rows of half the picture only."""
    return png_raw((b"\0" + bytes(64 * 3)) * 24, 64, 48, interlace=interlace)


def png_claiming(width: int, height: int) -> bytes:
    """A tiny file whose header claims a size."""
    return png_raw(bytes(64), width, height)


def text_bomb(kind: bytes = b"zTXt", *, after_pixels: bool = False, size: int = 8_000_000) -> bytes:
    head = {b"zTXt": b"Comment\0\0", b"iCCP": b"icc\0\0", b"iTXt": b"Comment\0\1\0en\0x\0"}[kind]
    return png_with(kind, head + zlib.compress(bytes(size), 9), after_pixels=after_pixels)


def many_texts() -> bytes:
    """Each text is small enough; together they are a bomb."""
    body = b"Comment\0\0" + zlib.compress(bytes(1_000_000), 9)
    chunks = png_chunks(saved(photo(), "PNG"))
    chunks[1:1] = [(b"zTXt", body)] * 2000
    return SIGNATURE + b"".join(chunk(*c) for c in chunks)


# ------------------------------------------------------------------------------------------ JPEG


def jpeg(**options: object) -> bytes:
    return saved(photo(), "JPEG", **options)


def jpeg_with_thumbnail() -> bytes:
    """A JPEG whose EXIF block holds a whole JPEG, end marker included."""
    body = b"Exif\0\0" + jpeg()
    data = jpeg()
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def half(data: bytes, end: bytes = b"") -> bytes:
    return data[: len(data) // 2] + end


def jpeg_of_many_scans() -> bytes:
    """A progressive JPEG that repeats its last scan: each costs a pass over the picture."""
    data = jpeg(progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 200 + data[-2:]


def jpeg_12bit() -> bytes:
    data = bytearray(jpeg())
    data[data.index(b"\xff\xc0") + 4] = 12
    return bytes(data)


def exif(orientation: object, order: str = "<", kind: int = 3) -> bytes:
    """A TIFF block with the one tag and a GPS pointer that leads nowhere."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    value = struct.pack(order + {3: "HH", 4: "I"}[kind], *([orientation, 0][: 5 - kind]))
    entries = struct.pack(order + "HHI", 0x0112, kind, 1) + value
    entries += struct.pack(order + "HHII", 0x8825, 4, 1, 0xFFFFFF)
    return head + struct.pack(order + "IH", 8, 2) + entries + bytes(4)


# --------------------------------------------------------------------------------- other formats


def webp(**options: object) -> bytes:
    return saved(photo(), "WEBP", **options)


def webp_claiming(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + bytes(4) + size + webp()[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def bmp(**options: object) -> bytes:
    return saved(photo(), "BMP", **options)


def bmp_claiming(width: int, height: int) -> bytes:
    data = bytearray(bmp())
    struct.pack_into("<ii", data, 18, width, height)
    return bytes(data)


def gif(frames: int = 1, **options: object) -> bytes:
    pictures = [Image.new("P", (64, 48), number) for number in range(frames)]
    for number, picture in enumerate(pictures):
        picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255] + [0] * 759)
        picture.putpixel((number, 0), 5)
    more = {"save_all": True, "append_images": pictures[1:]} if frames > 1 else {}
    return saved(pictures[0], "GIF", **more, **options)


def gif_frame_at(left: int, top: int, width: int, height: int) -> bytes:
    """A GIF whose frame claims another place than its screen."""
    data = bytearray(gif())
    struct.pack_into("<HHHH", data, data.index(b",", 13 + 6) + 1, left, top, width, height)
    return bytes(data)


def gif_comments() -> bytes:
    """Two megabytes of comments, which a naive reader joins one by one."""
    data = gif()
    at = 13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    return data[:at] + b"!\xfe\x01x\0" * 400_000 + data[at:]


def tiff_nan() -> bytes:
    values = np.full((8, 8), np.nan, np.float32)
    return saved(Image.fromarray(values), "TIFF")


def svg() -> bytes:
    return b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def svg_with_prologue() -> bytes:
    return b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a drawing -->\n' + svg()


def eps() -> bytes:
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) run\n"


def psd() -> bytes:
    return b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 8, 8, 8, 3) + bytes(64)


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as pack:
        pack.writestr("picture.png", saved(photo(), "PNG"))
    return file.getvalue()


def iso_file(brand: bytes) -> bytes:
    return struct.pack(">I", 24) + b"ftyp" + brand + bytes(12)


NOT_A_PICTURE, NOT_SUPPORTED, DAMAGED = "not a picture", "format is not supported", "is damaged"
TOO_LARGE, TOO_THIN, BOMB = "megapixels", "aspect ratio", "bomb"

REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", NOT_A_PICTURE),
    "one byte": (lambda: b"\x89", NOT_A_PICTURE),
    "zeros": (lambda: bytes(5000), NOT_A_PICTURE),
    "text": (lambda: b"Dear sir or madam,\n", "it is text"),
    "text that begins like a BMP": (lambda: b"BMW is a company that makes cars.", "it is text"),
    "text in UTF-16": (lambda: "Dear sir or madam".encode("utf-16"), "it is text"),
    "web page": (lambda: b"<!DOCTYPE html><html><svg></svg></html>", "it is a web page"),
    "XHTML with a drawing": (lambda: b'<?xml version="1.0"?><html><svg/></html>', "web page"),
    "PDF": (lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF"),
    "ZIP": (archive, "ZIP"),
    "video": (lambda: iso_file(b"isom"), "video"),
    "sound": (lambda: b"RIFF\x24\0\0\0WAVEfmt ", NOT_A_PICTURE),
    "SVG": (svg, "SVG"),
    "SVG with a prologue": (svg_with_prologue, "SVG"),
    "SVG in UTF-16": (lambda: svg().decode().encode("utf-16"), "SVG"),
    "EPS": (eps, "EPS"),
    "EPS with a preview": (lambda: b"\xc5\xd0\xd3\xc6" + bytes(26) + eps(), "EPS"),
    "TIFF": (lambda: saved(photo(), "TIFF"), "TIFF"),
    "TIFF of another byte order": (lambda: b"MM\0*\0\0\0\x08\0\0", "TIFF"),
    "TIFF of floats with NaN": (tiff_nan, "TIFF"),
    "PSD": (psd, "PSD"),
    "HEIC": (lambda: iso_file(b"heic"), "HEIC"),
    "AVIF": (lambda: iso_file(b"avif"), "AVIF"),
    "JPEG 2000": (lambda: b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    "JPEG XL": (lambda: b"\xff\x0a\x00", "JPEG XL"),
    "ICO": (lambda: saved(photo(32, 32), "ICO"), "ICO"),
    "PPM": (lambda: saved(photo(), "PPM"), "PNM"),
    "JPEG of 12 bits": (jpeg_12bit, NOT_SUPPORTED),
    "half a JPEG": (lambda: half(jpeg()), DAMAGED),
    "half a JPEG, closed": (lambda: half(jpeg(), b"\xff\xd9"), DAMAGED),
    "half a progressive JPEG": (lambda: half(jpeg(progressive=True)), DAMAGED),
    "half a progressive JPEG, closed": (lambda: half(jpeg(progressive=True), b"\xff\xd9"), DAMAGED),
    "JPEG of a million comments": (
        lambda: jpeg()[:2] + b"\xff\xfe\0\2" * 1_000_000 + jpeg()[2:],
        "parts",
    ),
    "PNG of a hundred thousand pieces": (
        lambda: png_raw(b"", 8, 8, extra=chunk(b"IDAT") * 100_000),
        "parts",
    ),
    "half a JPEG with restarts": (
        lambda: half(jpeg(restart_marker_rows=1), b"\xff\xd9"),
        DAMAGED,
    ),
    "JPEG without end": (lambda: jpeg()[:-2], DAMAGED),
    "JPEG with half an end": (lambda: jpeg()[:-1], DAMAGED),
    "JPEG without end, with a whole thumbnail": (lambda: jpeg_with_thumbnail()[:-2], DAMAGED),
    "JPEG header alone": (lambda: jpeg()[:100], DAMAGED),
    "JPEG magic alone": (lambda: b"\xff\xd8\xff", DAMAGED),
    "JPEG start and end": (lambda: b"\xff\xd8\xff\xd9", DAMAGED),
    "JPEG of 200 scans": (jpeg_of_many_scans, DAMAGED),
    "half a PNG": (lambda: half(saved(photo(), "PNG")), DAMAGED),
    "PNG without IEND": (lambda: saved(photo(), "PNG")[:-12], DAMAGED),
    "PNG with a cut IEND": (lambda: saved(photo(), "PNG")[:-1], DAMAGED),
    "PNG signature alone": (lambda: SIGNATURE, DAMAGED),
    "PNG with a flipped first byte": (lambda: b"\x88" + saved(photo(), "PNG")[1:], DAMAGED),
    "PNG sent as text": (lambda: saved(photo(), "PNG").replace(b"\r\n", b"\n", 1), DAMAGED),
    "PNG flipped in IHDR": (lambda: png_flipped(b"IHDR"), DAMAGED),
    "PNG flipped in IDAT": (lambda: png_flipped(b"IDAT"), DAMAGED),
    "PNG flipped in its text": (lambda: png_flipped(b"tEXt"), DAMAGED),
    "PNG short of rows": (png_short_of_rows, DAMAGED),
    "interlaced PNG short of rows": (lambda: png_short_of_rows(1), DAMAGED),
    "PNG without pixels": (lambda: SIGNATURE + chunk(b"IHDR", bytes(13)), DAMAGED),
    "PNG of no width": (lambda: png_claiming(0, 5), DAMAGED),
    "PNG of two headers": (
        lambda: png_with(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0)),
        DAMAGED,
    ),
    "half a WebP": (lambda: half(webp()), DAMAGED),
    "WebP without its last byte": (lambda: webp(lossless=True)[:-1], DAMAGED),
    "WebP header alone": (lambda: webp()[:12], DAMAGED),
    "half a GIF": (lambda: half(gif()), DAMAGED),
    "half an animated GIF": (lambda: half(gif(4)), DAMAGED),
    "GIF without its trailer": (lambda: gif()[:-1], DAMAGED),
    "GIF magic alone": (lambda: b"GIF89a", DAMAGED),
    "GIF with an empty frame": (lambda: gif_frame_at(0, 0, 0, 0), DAMAGED),
    "half a BMP": (lambda: half(bmp()), DAMAGED),
    "BMP without its last byte": (lambda: bmp()[:-1], DAMAGED),
    "BMP of negative width": (lambda: bmp_claiming(-64, 48), DAMAGED),
    "PNG of 30000x30000": (lambda: png_claiming(30000, 30000), TOO_LARGE),
    "PNG of 10000x10000": (lambda: png_claiming(10000, 10000), TOO_LARGE),
    "PNG of 20.001 megapixels": (lambda: png_claiming(6667, 3000), TOO_LARGE),
    "PNG of 10001x1000": (lambda: png_claiming(10001, 1000), "10,000 pixels a side"),
    "WebP of 16 million a side": (lambda: webp_claiming(2**24, 2**24), TOO_LARGE),
    "BMP of 30000x30000": (lambda: bmp_claiming(30000, 30000), TOO_LARGE),
    "BMP upside down of 30000x30000": (lambda: bmp_claiming(30000, -30000), TOO_LARGE),
    "GIF frame of 60000x60000": (lambda: gif_frame_at(0, 0, 60000, 60000), TOO_LARGE),
    "GIF frame far out": (lambda: gif_frame_at(9000, 9000, 64, 48), TOO_LARGE),
    "1x60000": (lambda: saved(Image.new("1", (1, 60000)), "PNG"), TOO_THIN),
    "1x21": (lambda: saved(Image.new("L", (1, 21)), "PNG"), TOO_THIN),
    "210x10": (lambda: jpeg_of(210, 10), TOO_THIN),
    "zTXt bomb": (text_bomb, BOMB),
    "zTXt bomb after the pixels": (lambda: text_bomb(after_pixels=True), BOMB),
    "iTXt bomb": (lambda: text_bomb(b"iTXt"), BOMB),
    "iCCP bomb": (lambda: text_bomb(b"iCCP"), BOMB),
    "bomb of many texts": (many_texts, BOMB),
    "more than 10 MB": (lambda: saved(photo(), "PNG") + bytes(10 * 2**20), "10 MB"),
}


def jpeg_of(width: int, height: int) -> bytes:
    return saved(photo(width, height), "JPEG")


WELCOME: dict[str, Callable[[], bytes]] = {
    "JPEG": jpeg,
    "progressive JPEG": lambda: jpeg(progressive=True),
    "JPEG with restarts": lambda: jpeg(restart_marker_blocks=1),
    "grey JPEG": lambda: saved(photo().convert("L"), "JPEG"),
    "CMYK JPEG": lambda: saved(photo().convert("CMYK"), "JPEG"),
    "JPEG with a thumbnail": jpeg_with_thumbnail,
    "JPEG with a tail": lambda: jpeg() + b"more than a picture" * 9,
    "two JPEGs in one file": lambda: jpeg() + jpeg(),
    "PNG": lambda: saved(photo(), "PNG"),
    "PNG with a tail": lambda: saved(photo(), "PNG") + b"tail",
    "black and white": lambda: saved(photo().convert("1"), "PNG"),
    "palette": lambda: saved(photo().quantize(16), "PNG"),
    "LA": lambda: saved(photo().convert("LA"), "PNG"),
    "RGBA": lambda: saved(photo().convert("RGBA"), "PNG"),
    "16 bits": lambda: png_16bit(np.full((4, 4, 1), 30000)),
    "16 bits, RGB": lambda: png_16bit(np.full((4, 4, 3), 30000)),
    "16 bits, grey with alpha": lambda: png_16bit(np.full((4, 4, 2), 30000)),
    "broken colour profile": lambda: png_with(b"iCCP", b"icc\0\0broken"),
    "WebP": webp,
    "lossless WebP": lambda: webp(lossless=True),
    "BMP": bmp,
    "GIF": gif,
    "animated GIF": lambda: gif(4),
    "GIF with 400,000 comments": gif_comments,
    "1x1": lambda: saved(Image.new("RGB", (1, 1)), "PNG"),
    "1x20": lambda: saved(Image.new("RGB", (1, 20), "red"), "BMP"),
    "all black": lambda: saved(Image.new("RGB", (300, 200)), "JPEG"),
    "one colour": lambda: saved(Image.new("RGB", (300, 200), "#345678"), "WEBP"),
}
