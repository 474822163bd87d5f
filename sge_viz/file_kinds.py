"""Tell what kind of file some bytes are, by their content and never by their name."""

import re
from typing import NoReturn

SUPPORTED = "JPEG, PNG, WebP, BMP or GIF"

_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)

# (offset, bytes found there, what the file is)
_OTHER_PICTURES = (
    (0, b"II*\0", "a TIFF picture"),
    (0, b"MM\0*", "a TIFF picture"),
    (0, b"II+\0", "a TIFF picture"),
    (0, b"MM\0+", "a TIFF picture"),
    (0, b"8BPS", "a Photoshop (PSD) document"),
    (0, b"\xc5\xd0\xd3\xc6", "an EPS document"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"\0\0\1\0", "an ICO icon"),
    (0, b"icns", "an ICNS icon"),
    (0, b"qoif", "a QOI picture"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (0, b"#?RADIANCE", "a Radiance HDR picture"),
    (0, b"SIMPLE  =", "a FITS picture"),
    (0, b"gimp xcf", "a GIMP (XCF) document"),
    (128, b"DICM", "a DICOM picture"),
    *((4, b"ftyp" + brand, "a HEIC picture") for brand in (b"hei", b"hev", b"mif1", b"msf1")),
    *((4, b"ftyp" + brand, "an AVIF picture") for brand in (b"avif", b"avis")),
    *((0, b"P%d%c" % (kind, blank), "a PNM picture") for kind in range(1, 8) for blank in b"\n\r "),
    *((0, b"P%c\n" % kind, "a PFM picture") for kind in b"fF"),
)
_OTHER_FILES = (
    (0, b"PK\3\4", "a ZIP archive"),
    (0, b"PK\5\6", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
    (0, b"RIFF", "sound or video"),
    (0, b"OggS", "sound or video"),
    (0, b"ID3", "sound"),
    (0, b"\x1a\x45\xdf\xa3", "a video"),
    (4, b"ftyp", "a video"),
)


class BadPicture(ValueError):  # noqa: N818 (it names what was found, as the sentence in it does)
    """A picture that is refused; its text is the sentence that a person is shown."""


def picture_format(data: bytes) -> str:
    """Name the format of a picture file.

    Args:
        data: the whole file.

    Returns:
        "JPEG", "PNG", "WEBP", "BMP" or "GIF", as Pillow calls them. The file may still be damaged.

    Raises:
        BadPicture: the file is of no supported format; the sentence says what it is instead.
    """
    if data.startswith(b"\xff\xd8"):
        return "JPEG"
    # Any of three signs: a PNG with a flipped byte in its signature is a damaged PNG.
    if data.startswith(b"\x89PNG") or data[1:4] == b"PNG" or data[12:16] == b"IHDR":
        return "PNG"
    if data.startswith(b"GIF8"):
        return "GIF"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    # "BM" alone could as well begin a text.
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    for offset, magic, name in _OTHER_PICTURES:
        if data.startswith(magic, offset):
            not_supported(name)
    _refuse_document(data)


def _refuse_document(data: bytes) -> NoReturn:
    """Say what a file is that holds drawing commands, text, an archive, sound, or nothing."""
    # As text in any encoding: no byte order mark, no zero bytes of UTF-16, no leading blanks.
    text = re.sub(rb"^(\xef\xbb\xbf|\xff\xfe|\xfe\xff)|\0", b"", data[: 2**16])
    text = text.lstrip(b" \t\r\n\x04").lower()
    drawing, page = text.find(b"<svg"), text.find(b"<html")
    markup = text.startswith((b"<svg", b"<?xml", b"<!--", b"<!doctype svg"))
    if markup and drawing >= 0 and not 0 <= page < drawing:
        not_supported("an SVG drawing")
    if text.startswith(b"%!ps"):
        not_supported("an EPS or PostScript document")
    if not data:
        not_a_picture("it is empty")
    if b"%PDF-" in data[:1024]:
        not_a_picture("it is a PDF document")
    for offset, magic, name in _OTHER_FILES:
        if data.startswith(magic, offset):
            not_a_picture(f"it is {name}")
    if page >= 0 or text.startswith(b"<!doctype html"):
        not_a_picture("it is a web page")
    if text and not re.search(rb"[^\t\n\r\f\x1b\x20-\x7e\x80-\xff]", text):
        not_a_picture("it is text")
    not_a_picture("its content is of no known picture format")


def not_a_picture(why: str) -> NoReturn:
    """Refuse a file that holds something else than a picture."""
    raise BadPicture(f"The file is not a picture: {why}; choose a {SUPPORTED} file.")


def not_supported(kind: str) -> NoReturn:
    """Refuse a picture of a kind (with its article) that this software does not read."""
    raise BadPicture(f"The file's format is not supported: it is {kind}; save it as {SUPPORTED}.")


def damaged(why: str) -> NoReturn:
    """Refuse a picture file that is broken or incomplete."""
    raise BadPicture(f"The file is damaged: {why}; save or download it again.")
