"""The door for pictures: whatever the bytes, there is a picture or the right sentence."""

import io
import itertools
import os
import re
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hostile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, PngImagePlugin

from sge_viz.images import BadPicture, Picture, open_picture, prepare


def answer(source) -> str:
    """The sentence with which a source is refused."""
    with pytest.raises(BadPicture) as caught:
        open_picture(source)
    return str(caught.value)


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(picture.image)


@pytest.mark.parametrize("name", hostile.REFUSED)
def test_bad_picture_is_refused_with_its_sentence(name, tmp_path):
    make, expected = hostile.REFUSED[name]
    data = make()
    sentence = answer(data)
    assert expected in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < 250

    path = tmp_path / "holiday.png"
    path.write_bytes(data)
    assert answer(path) == f"holiday.png: {sentence}"


@pytest.mark.parametrize("name", hostile.REFUSED)
def test_bad_picture_is_refused_also_where_pillow_was_told_to_be_lenient(name, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    make, expected = hostile.REFUSED[name]
    assert expected in answer(make())
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_what_is_no_file_gets_a_sentence():
    assert answer(np.zeros((8, 8, 3), np.uint8)) == "The file cannot be read; choose it again."


@pytest.mark.parametrize("source", [None, ""])
def test_no_picture(source):
    assert answer(source) == "Choose a picture."


@pytest.mark.parametrize(
    "path",
    [
        "no/such/holiday.png",
        Path("/no/such/holiday.png"),
        "C:\\secret\\holiday.png",
        "/secret/<b>\nholiday.png",
        "/nul\0l/holiday.png",
        "/secret/" + "x" * 5000 + "/holiday.png",
    ],
)
def test_missing_file_is_named_without_its_folder(path):
    sentence = answer(path)
    assert "There is no such file" in sentence or "cannot be read" in sentence
    assert "holiday.png: " in sentence
    assert not re.search(r"secret|/|\\|<|\n", sentence)


def test_folder_pipe_and_unreadable_file(tmp_path):
    assert answer(tmp_path).endswith("This is a folder; choose a picture.")
    assert str(tmp_path.parent) not in answer(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    assert "no such file" in answer(tmp_path / "pipe.png")
    assert "cannot be read" in answer("/proc/self/mem")  # opens, but its reading fails


class Stream(io.RawIOBase):
    """Hands out bytes as a socket does: some at a time, with no way back."""

    def __init__(self, data: bytes, step: int = 1000):
        self.data, self.step, self.given = data, step, 0

    def read(self, size: int = -1) -> bytes:
        size = min(self.step, size) if size >= 0 else self.step
        self.given += size
        part, self.data = self.data[:size], self.data[size:]
        return part


def test_file_objects():
    data = hostile.jpeg()
    expected = pixels(open_picture(data))
    at_its_end = io.BytesIO(data)
    at_its_end.seek(0, io.SEEK_END)
    for file in (io.BytesIO(data), at_its_end, Stream(data)):
        assert (pixels(open_picture(file)) == expected).all()
    for twice in (bytearray(data), memoryview(data)):
        assert (pixels(open_picture(twice)) == expected).all()


def test_name_of_a_file_object_is_bare(tmp_path):
    path = tmp_path / "cat.jpg"
    path.write_bytes(hostile.jpeg())
    with path.open("rb") as file:
        assert open_picture(file).name == "cat.jpg"
    assert open_picture(str(path)).name == "cat.jpg"
    assert open_picture(path.read_bytes()).name is None


def test_useless_sources():
    closed = io.BytesIO(hostile.jpeg())
    closed.close()
    broken = io.BytesIO(b"x")
    broken.read = lambda size: 1 / 0
    for source in (
        closed,
        broken,
        io.StringIO("text"),
        7,
        object(),
        [b"x"],
        Image.new("L", (2, 2)),
    ):
        assert answer(source) == "The file cannot be read; choose it again."


def test_no_more_than_the_limit_is_read():
    endless = Stream(bytes(40 * 2**20), step=2**20)
    assert "10 MB" in answer(endless)
    assert endless.given <= 11 * 2**20
    sentence = answer(hostile.jpeg() + bytes(12 * 2**20))
    assert f"{len(hostile.jpeg()) + 12 * 2**20:,} bytes" in sentence
    assert "10 MB" in sentence


def test_exactly_the_limit_is_accepted():
    data = hostile.jpeg()
    open_picture(data + bytes(10 * 2**20 - len(data)))
    assert "10 MB" in answer(data + bytes(10 * 2**20 - len(data) + 1))


def test_limits_include_their_values():
    for size in ((20, 1), (1, 20), (10_000, 2_000), (5_000, 4_000)):
        data = hostile.saved(Image.new("1", size), "PNG")
        assert open_picture(data).original_size == size


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_every_beginning_of_a_picture_is_refused(form):
    image = hostile.photo(16, 12)
    data = hostile.saved(image, form, **({"lossless": True} if form == "WEBP" else {}))
    open_picture(data)
    for length in range(len(data)):
        assert re.search("damaged|not a picture", answer(data[:length])), length


def test_png_with_any_flipped_byte_is_damaged():
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "hello", zip=True)
    data = hostile.saved(hostile.photo(9, 7), "PNG", pnginfo=text)
    for at in range(len(data)):
        broken = data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]
        assert "damaged" in answer(broken), at


@pytest.mark.parametrize("size", list(itertools.product((17, 40, 64), (4, 16, 33))))
@pytest.mark.parametrize(
    "options",
    [{}, {"quality": 100, "subsampling": 0}, {"restart_marker_blocks": 1}, {"optimize": True}],
    ids=str,
)
def test_jpeg_that_lost_blocks_but_has_its_end_is_damaged(size, options):
    """Pillow paints what is missing grey; and what is whole must not be taken for damaged."""
    data = hostile.saved(hostile.photo(*size), "JPEG", **options)
    assert (pixels(open_picture(data)) == np.asarray(Image.open(io.BytesIO(data)))).all()
    start = data.index(b"\xff\xda") + 14
    for kept in (0.1, 0.5, 0.8):
        cut = data[: start + int((len(data) - start) * kept)]
        assert "damaged" in answer(cut + b"\xff\xd9")


def test_no_decoder_but_the_five_ever_opens_anything(monkeypatch):
    opened = []
    real = Image.open

    def spy(file, mode="r", formats=None):
        opened.append(tuple(formats))
        return real(file, mode, formats)

    monkeypatch.setattr(Image, "open", spy)
    for make, _ in hostile.REFUSED.values():
        answer(make())
    for make in hostile.WELCOME.values():
        open_picture(make())
    assert set(opened) == {("JPEG",), ("PNG",), ("WEBP",), ("BMP",), ("GIF",)}


def test_bombs_need_neither_memory_nor_time():
    code = """
import resource, sys, time
sys.path[:0] = sys.argv[1:]
import hostile
from sge_viz.images import BadPicture, open_picture
def bombs():
    for kind in (b"zTXt", b"iTXt", b"iCCP"):
        yield hostile.text_bomb(kind, size=50_000_000)
    yield hostile.many_texts()
    yield hostile.webp_claiming(16383, 16383)
    yield hostile.gif_frame_at(0, 0, 65535, 65535)
    yield hostile.png_claiming(30000, 30000)
    yield hostile.jpeg_of_many_scans()
made = list(bombs())
open_picture(hostile.jpeg())
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
for data in made:
    try:
        open_picture(data)
    except BadPicture:
        continue
    sys.exit("accepted")
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(grown, time.perf_counter() - start)
"""
    here = Path(__file__).parent
    run = subprocess.run(
        [sys.executable, "-c", code, str(here), str(here.parent)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    kilobytes, seconds = map(float, run.stdout.split())
    assert kilobytes < 20_000
    assert seconds < 3


def test_trailing_or_repeated_chunks_do_not_confuse():
    big = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    assert "damaged" in answer(hostile.png_with(b"IHDR", big))
    data = hostile.jpeg()
    frame = data.index(b"\xff\xc0")
    assert "damaged" in answer(data[:frame] + data[frame : frame + 19] + data[frame:])


def test_threads_do_not_disturb_each_other(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    good, cut = hostile.jpeg(), hostile.half(hostile.jpeg(), b"\xff\xd9")
    expected = pixels(open_picture(good))
    start = threading.Barrier(8)

    def work(number: int) -> bool:
        start.wait()
        for _ in range(20):
            if number % 2:
                answer(cut)
            elif (pixels(open_picture(good)) != expected).any():
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


SEEDS = [make() for name, make in hostile.WELCOME.items() if "comments" not in name]


def with_right_checksums(data: bytes) -> bytes:
    """So that a broken PNG gets as far as the decoder."""
    out, position = bytearray(data), 8
    while position + 12 <= len(out):
        (length,) = struct.unpack_from(">I", out, position)
        end = position + 8 + length
        if end + 4 > len(out):
            break
        struct.pack_into(">I", out, end, zlib.crc32(out[position + 4 : end]))
        position = end + 4
    return bytes(out)


@settings(max_examples=600, deadline=2000)
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(
        st.tuples(
            st.floats(0, 1, exclude_max=True),
            st.booleans(),
            st.integers(0, 40),
            st.binary(max_size=8),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_whatever_the_bytes_there_is_a_picture_or_a_sentence(seed, edits):
    data = seed
    for place, at_the_head, removed, added in edits:
        at = int(place * min(len(data), 80 if at_the_head else len(data)))
        data = data[:at] + added + data[at + removed :]
    if data.startswith(hostile.SIGNATURE):
        data = with_right_checksums(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            picture = open_picture(data)
        except BadPicture as error:
            assert re.fullmatch(r"[^\n]{10,250}\.", str(error))
        else:
            assert picture.image.mode == "RGB"
            assert prepare(picture).tensor.isfinite().all()


@given(st.binary(max_size=300))
def test_random_bytes_are_no_picture(data):
    assert answer(data)
