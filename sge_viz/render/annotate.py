"""What is written on a picture: numbers, names of groups, text that fits, colour bars.

The font is DejaVu Sans as Matplotlib ships it: it is there without any system font, and pictures
drawn here and figures drawn by Matplotlib look alike.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sge_viz.render.colour import Bytes, colour_table

Colour = tuple[int, int, int]
DASH = "\N{EN DASH}"
LINE = 1.35  # distance of two lines of text, in font sizes


@dataclass(frozen=True)
class Theme:
    """The colours of everything that is not a map."""

    paper: Colour
    ink: Colour
    faint: Colour


LIGHT = Theme(paper=(255, 255, 255), ink=(24, 24, 27), faint=(82, 82, 91))
DARK = Theme(paper=(24, 24, 27), ink=(244, 244, 245), faint=(180, 180, 190))


def theme(dark: bool) -> Theme:
    """Return the colours for light or dark paper."""
    return DARK if dark else LIGHT


def group_name(group: int) -> str:
    """Return "group 17 (18th)": our index from 0, and the paper's, which counts from 1."""
    number = group + 1
    endings = {1: "st", 2: "nd", 3: "rd"}
    ending = "th" if number % 100 in (11, 12, 13) else endings.get(number % 10, "th")
    return f"group {group} ({number}{ending})"


def number_texts(low: float, high: float, digits: int = 2) -> tuple[str, str]:
    """Return both ends of a scale as text.

    With three significant digits of the larger one, and as many more as it takes to show `digits`
    significant digits of their difference.
    """
    size, span = max(abs(low), abs(high)), high - low
    if size == 0:
        return "0", "0"
    if not 1e-3 <= size < 1e5:
        return f"{low:.3g}", f"{high:.3g}"
    decimals = 2 - math.floor(math.log10(size))
    if span > 0:
        decimals = max(decimals, digits - 1 - math.floor(math.log10(span)))
    decimals = min(max(decimals, 0), 6)
    return _fixed(low, decimals), _fixed(high, decimals)


def _fixed(value: float, decimals: int) -> str:
    if abs(value) >= 1e-3 and round(value, decimals) == 0:
        return f"{value:.2g}"  # small beside the other end, but not nothing
    return f"{round(value, decimals) + 0.0:.{decimals}f}"  # + 0.0 turns "-0.0" into "0.0"


def scale_ends(low: float, high: float) -> tuple[str, str]:
    """Return what stands at the two ends of a colour bar; a constant says that it is one."""
    first, last = number_texts(low, high)
    return (first, "(constant)") if low == high else (first, last)


def range_text(low: float, high: float) -> str:
    """Return both ends as short as they can be, "0.31" dash "2.75"; "all 0.73" for a constant."""
    first, last = number_texts(low, high, digits=1)
    return f"all {first}" if low == high else f"{first}{DASH}{last}"


@lru_cache(maxsize=64)
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the font at `size` pixels; the same on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", name)
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=4096)
def text_width(text: str, size: int, bold: bool = False) -> int:
    """Return the width of one line in pixels."""
    return math.ceil(font(size, bold).getlength(text))


def label(text: str, size: int, look: Theme, *, bold: bool = False, faint: bool = False) -> Bytes:
    """Return a short label, (height, width, 3) uint8, set letter by letter from a cache.

    A mosaic has hundreds of them; drawn anew each costs a tenth of a millisecond.
    """
    mask = np.concatenate([_glyph(letter, size, bold) for letter in text], axis=1)
    shades: Bytes = _shades(look.paper, look.faint if faint else look.ink)[mask]
    return shades


def label_width(text: str, size: int, bold: bool = False) -> int:
    """Return the width of `label` in pixels."""
    return sum(_glyph(letter, size, bold).shape[1] for letter in text)


@lru_cache(maxsize=2048)
def _glyph(letter: str, size: int, bold: bool) -> Bytes:
    width = max(1, round(font(size, bold).getlength(letter)))
    image = Image.new("L", (width, round(size * LINE)))
    ImageDraw.Draw(image).text((0, 0), letter, font=font(size, bold), fill=255)
    return np.asarray(image)


@lru_cache(maxsize=16)
def _shades(paper: Colour, ink: Colour) -> Bytes:
    """Return the 256 colours from paper to ink, (256, 3) uint8."""
    share = np.linspace(0, 1, 256)[:, None]
    return np.rint(np.array(paper) * (1 - share) + np.array(ink) * share).astype(np.uint8)


def printable(text: str) -> str:
    """Return text without what no font can draw and no SVG may hold (names come from files)."""
    return "".join(letter for letter in text if letter.isprintable() or letter.isspace())


def wrap(text: str, width: float, size: int, bold: bool = False) -> list[str]:
    """Break text into lines of at most `width` pixels, between words or, if need be, inside one."""
    lines: list[str] = []
    used, space = 0, text_width(" ", size, bold)
    for whole in printable(text).split():
        for word in _pieces(whole, width, size, bold):
            length = text_width(word, size, bold)
            if lines and used + space + length <= width:
                lines[-1] += f" {word}"
                used += space + length
            else:
                lines.append(word)
                used = length
    return lines


def _pieces(word: str, width: float, size: int, bold: bool) -> list[str]:
    """Cut a word that is wider than a line."""
    pieces = [""]
    if text_width(word, size, bold) <= width:
        return [word]
    for letter in word:
        if pieces[-1] and text_width(pieces[-1] + letter, size, bold) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


def shorten(text: str, width: float, size: int) -> str:
    """Return the text, its middle left out where it would be wider than `width` pixels."""
    text = " ".join(printable(text).split())
    if text_width(text, size) <= width:
        return text
    keep = len(text)
    while keep > 1:
        keep -= 1
        short = f"{text[: (keep + 1) // 2]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - keep // 2 :]}"
        if text_width(short, size) <= width:
            return short
    return "\N{HORIZONTAL ELLIPSIS}"


def text_block(
    text: str, width: int, size: int, look: Theme, *, bold: bool = False, faint: bool = False
) -> Image.Image:
    """Return text broken into lines, as a picture `width` pixels wide."""
    lines = wrap(text, width, size, bold)
    step = round(size * LINE)
    image = Image.new("RGB", (width, max(1, len(lines)) * step), look.paper)
    ink = look.faint if faint else look.ink
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((0, number * step), line, font=font(size, bold), fill=ink)
    return image


def colour_bar(colour_map: str, width: int, height: int) -> Image.Image:
    """Return a bar that runs through all 256 colours from left to right."""
    places = (np.arange(width) * 256) // width
    return Image.fromarray(np.repeat(colour_table(colour_map)[places][None], height, axis=0))


def labelled_bar(
    colour_map: str, name: str, ends: tuple[str, str], size: int, look: Theme
) -> Image.Image:
    """Return a colour bar in a line of text: what it shows, its low end, the bar, its high end."""
    length, gap = 16 * size, size // 2
    low, high = ends
    widths = [text_width(name, size, bold=True), text_width(low, size), text_width(high, size)]
    image = Image.new("RGB", (sum(widths) + length + 4 * gap, round(size * LINE)), look.paper)
    draw = ImageDraw.Draw(image)
    draw.text((0, 0), name, font=font(size, bold=True), fill=look.ink)
    x = widths[0] + 2 * gap
    draw.text((x, 0), low, font=font(size), fill=look.ink)
    x += widths[1] + gap
    image.paste(colour_bar(colour_map, length, size), (x, round(0.1 * size)))
    draw.text((x + length + gap, 0), high, font=font(size), fill=look.ink)
    return image


def flow(parts: list[Image.Image], width: int, gap: int, paper: Colour) -> list[Image.Image]:
    """Set pictures beside each other in as few rows of at most `width` pixels as they need."""
    rows: list[list[Image.Image]] = []
    for part in parts:
        if rows and sum(image.width + gap for image in rows[-1]) + part.width <= width:
            rows[-1].append(part)
        else:
            rows.append([part])
    return [beside(row, gap, paper) for row in rows]


def stack(parts: list[Image.Image], gap: int, paper: Colour, margin: int = 0) -> Image.Image:
    """Set pictures below each other, with an empty border of `margin` pixels."""
    width = max(part.width for part in parts) + 2 * margin
    height = sum(part.height for part in parts) + gap * (len(parts) - 1) + 2 * margin
    image = Image.new("RGB", (width, height), paper)
    y = margin
    for part in parts:
        image.paste(part, (margin, y))
        y += part.height + gap
    return image


def beside(parts: list[Image.Image], gap: int, paper: Colour) -> Image.Image:
    """Set pictures beside each other, level at the top."""
    width = sum(part.width for part in parts) + gap * (len(parts) - 1)
    image = Image.new("RGB", (width, max(part.height for part in parts)), paper)
    x = 0
    for part in parts:
        image.paste(part, (x, 0))
        x += part.width + gap
    return image
