"""The door for pictures: every bad picture gets its answer, every good one its exact pixels."""

import hashlib
import io
import itertools
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
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, PngImagePlugin
from torchvision import transforms

from sge_viz.images import MEAN, STD, BadPicture, Picture, open_picture, prepare


def answer(source) -> str:
    """The sentence with which a source is refused."""
    with pytest.raises(BadPicture) as caught:
        open_picture(source)
    return str(caught.value)


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(picture.image)


def a_picture(array: np.ndarray) -> Picture:
    return open_picture(hostile.saved(Image.fromarray(array), "PNG"))


# ---------------------------------------------------------------------------------------- refused


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
    import os

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


# --------------------------------------------------------------------------------------- welcomed


@pytest.mark.parametrize("name", hostile.WELCOME)
def test_odd_picture_is_opened(name):
    data = hostile.WELCOME[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = open_picture(data)
    assert picture.image.mode == "RGB"
    assert picture.image.size == picture.original_size
    assert picture.image.info == {}
    assert picture.sha256 == hashlib.sha256(data).hexdigest()
    assert all(note.endswith(".") for note in picture.notes)
    assert prepare(picture).tensor.isfinite().all()


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF", "WEBP"])
def test_lossless_pictures_keep_their_pixels(form):
    image = hostile.photo().quantize(64).convert("RGB")
    options = {"lossless": True} if form == "WEBP" else {}
    picture = open_picture(hostile.saved(image, form, **options))
    assert picture.format == form
    assert (pixels(picture) == np.asarray(image)).all()


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_has_pillows_pixels(progressive):
    data = hostile.jpeg(progressive=progressive)
    assert (pixels(open_picture(data)) == np.asarray(Image.open(io.BytesIO(data)))).all()


def test_grey_and_one_bit_and_palette():
    image = hostile.photo()
    grey, bit, palette = image.convert("L"), image.convert("1"), image.quantize(16)
    for source in (grey, bit, palette):
        picture = open_picture(hostile.saved(source, "PNG"))
        assert (pixels(picture) == np.asarray(source.convert("RGB"))).all()
        assert picture.notes[0].startswith("Converted from ")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_with_a_transparent_level(bits):
    """The level is given at the file's depth, and only the pixels of that very level turn white."""
    byte, top = 0b00011011, 2**bits - 1
    levels = [byte >> shift & top for shift in range(8 - bits, -1, -bits)]
    level = hostile.chunk(b"tRNS", struct.pack(">H", levels[0]))
    shown = pixels(open_picture(hostile.png_raw(bytes([0, byte]), len(levels), 1, bits, 0, level)))
    expected = [255 if v == levels[0] else round(v * 255 / top) for v in levels]
    assert shown[0, :, 0].tolist() == expected


def test_cmyk_jpeg_has_its_colours():
    colours = [(200, 40, 30), (30, 160, 60), (240, 240, 240), (10, 10, 10)]
    for colour in colours:
        image = Image.new("RGB", (32, 32), colour).convert("CMYK")
        picture = open_picture(hostile.saved(image, "JPEG", quality=100))
        assert np.abs(pixels(picture)[16, 16].astype(int) - colour).max() <= 4
        assert picture.notes == ("Converted from CMYK to RGB.",)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_scaled(channels):
    levels = np.array([0, 128, 257, 1000, 12850, 32896, 40000, 65535])
    values = np.repeat(levels[None, :, None], channels, axis=2)
    picture = open_picture(hostile.png_16bit(values))
    shown = pixels(picture)[0].astype(float)
    assert np.abs(shown - levels[:, None] / 257).max() < 1
    assert (shown[[0, -1]] == [[0], [255]]).all()
    assert "Scaled from 16 to 8 bits a channel." in picture.notes


def test_16_bit_grey_is_rounded_to_the_nearest_level():
    values = np.arange(0, 65536, 13)[:5040].reshape(63, 80, 1)
    shown = pixels(open_picture(hostile.png_16bit(values)))
    assert (shown == np.round(values / 257)).all()


@pytest.mark.parametrize(("channels", "key"), [(1, (30000,)), (3, (30000, 10, 65535))])
def test_16_bits_with_a_transparent_colour(channels, key):
    values = np.zeros((4, 4, channels), int) + 5000
    values[0, 0] = key
    trns = hostile.chunk(b"tRNS", struct.pack(f">{channels}H", *key))
    shown = pixels(open_picture(hostile.png_16bit(values, trns)))
    assert (shown[0, 0] == 255).all()
    assert (shown[1:] == 5000 // 257).all()


def test_transparency_is_laid_on_white():
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[..., 3] = [[0, 64, 128, 255]] * 4
    for form, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        picture = open_picture(hostile.saved(Image.fromarray(rgba), form, **options))
        alpha = rgba[..., 3:] / 255
        expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
        assert np.abs(pixels(picture) - expected).max() <= 1
        assert picture.notes == ("Transparent parts were laid on white.",)


def test_transparent_palettes_and_grey():
    palette = hostile.photo().quantize(4)
    for form in ("PNG", "GIF"):
        shown = pixels(open_picture(hostile.saved(palette, form, transparency=2)))
        clear = np.asarray(palette) == 2
        assert clear.any()
        assert (shown[clear] == 255).all()
        assert (shown[~clear] == np.asarray(palette.convert("RGB"))[~clear]).all()
    half = open_picture(hostile.saved(palette, "PNG", transparency=bytes([255, 128, 0, 255])))
    assert (pixels(half)[np.asarray(palette) == 2] == 255).all()
    nothing = open_picture(hostile.saved(Image.new("LA", (3, 3), (0, 0)), "PNG"))
    assert (pixels(nothing) == 255).all()


def test_opaque_alpha_is_not_mentioned():
    assert open_picture(hostile.saved(hostile.photo().convert("RGBA"), "PNG")).notes == ()


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_animation_gives_its_first_frame_and_says_so(form):
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if form == "WEBP" else {}
    data = hostile.saved(frames[0], form, save_all=True, append_images=frames[1:], **options)
    picture = open_picture(data)
    assert (pixels(picture) == (255, 0, 0)).all()
    assert picture.notes[0] == "Only the first of 3 frames is used."


def test_gif_frame_beyond_its_screen():
    picture = open_picture(hostile.gif_frame_at(10, 5, 64, 48))
    assert picture.original_size == (74, 53)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
def test_exif_orientation_is_applied_once(form, order, kind):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = (250, 10, 10)  # a red corner at the upper left
    upright[:8, 16:] = (10, 250, 10)  # green at the upper right
    # How a camera stores a scene under each tag: the inverse of what a viewer must do.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    for tag, array in stored.items():
        block = hostile.exif(tag, order, kind)
        options = {
            "PNG": {},
            "JPEG": {"quality": 100, "subsampling": 0},
            "WEBP": {"lossless": True},
        }
        block = b"Exif\0\0" * (form == "JPEG") + block
        data = hostile.saved(Image.fromarray(array.copy()), form, exif=block, **options[form])
        picture = open_picture(data)
        assert picture.original_size == (32, 16)
        assert np.abs(pixels(picture).astype(int) - upright).max() <= 40
        assert picture.notes == (() if tag == 1 else (f"Turned upright (EXIF orientation {tag}).",))


@pytest.mark.parametrize(
    "block",
    [
        *(hostile.exif(tag) for tag in (0, 9, 99, 65535)),
        hostile.exif(6)[:12],
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        b"garbage",
        b"",
    ],
)
def test_senseless_exif_is_ignored(block):
    image = hostile.photo()
    body = b"Exif\0\0" + block
    segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    plain = hostile.saved(image, "JPEG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = open_picture(plain[:2] + segment + plain[2:])
        also = open_picture(hostile.png_with(b"eXIf", block))
    assert picture.notes == also.notes == ()
    assert picture.original_size == also.original_size == image.size


def test_nothing_personal_gets_through():
    secret = b"SECRET-PLACE 52.5N 13.4E"
    image = hostile.photo()
    exif = Image.Exif()
    exif[0x010E] = secret.decode()
    exif.get_ifd(0x8825)[2] = (52.0, 30.0, 0.0)
    text = PngImagePlugin.PngInfo()
    text.add_text("Location", secret.decode())
    files = (
        hostile.saved(image, "JPEG", exif=exif, comment=secret, icc_profile=secret, xmp=secret),
        hostile.saved(image, "PNG", exif=exif, pnginfo=text, icc_profile=secret),
        hostile.saved(image, "WEBP", exif=exif, icc_profile=secret, xmp=secret),
        hostile.saved(image.quantize(8), "GIF", comment=secret),
    )
    for data in files:
        picture = open_picture(data)
        assert picture.image.info == {}
        assert not picture.image.getexif()
        for form in ("PNG", "JPEG", "WEBP"):
            assert b"SECRET" not in hostile.saved(picture.image, form)
            assert b"Exif" not in hostile.saved(picture.image, form)
        assert "SECRET" not in repr(picture)


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


# --------------------------------------------------------------------------------- preprocessing

SIZES = [
    (256, 256),
    (224, 224),
    (1, 1),
    (1, 20),
    (20, 1),
    (257, 256),
    (500, 333),
    (333, 500),
    (640, 479),
    (301, 299),
    (1023, 777),
]


@pytest.mark.parametrize("size", SIZES)
def test_published_preprocessing_is_torchvisions(size):
    picture = a_picture(np.asarray(hostile.photo(*size)))
    reference = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    prepared = prepare(picture)
    assert prepared.tensor.dtype == torch.float32
    assert torch.equal(prepared.tensor[0], reference(picture.image))
    assert prepared.size == (224, 224)
    assert "256" in prepared.preprocessing
    assert "224" in prepared.preprocessing


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shorter", [224, 448])
def test_whole_picture(size, shorter):
    shorter = 224 if 20 in size else shorter  # 448x8960 would be too large
    picture = a_picture(np.asarray(hostile.photo(*size)))
    prepared = prepare(picture, shorter)
    height, width = prepared.size
    assert prepared.tensor.shape == (1, 3, height, width)
    assert min(height, width) == shorter
    assert height % 32 == width % 32 == 0
    exact = max(size) * shorter / min(size)
    assert abs(max(height, width) - exact) <= 16
    assert prepared.box == (0, 0, *size)
    resized = picture.image.resize((width, height), Image.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(prepared.view()), np.asarray(resized))


@pytest.mark.parametrize("size", [223, 225, 240, 192, 0, -224, 1000, 928, 224.0, "a", "224"])
def test_bad_size_is_refused(size):
    with pytest.raises(ValueError, match="multiple of 32 from 224 to 896"):
        prepare(a_picture(np.zeros((9, 9, 3), np.uint8)), size)


@pytest.mark.parametrize("size", [float("nan"), True, None, [224], "x" * 10**6])
def test_senseless_size_is_refused(size):
    with pytest.raises(ValueError, match="multiple of 32 from 224 to 896") as caught:
        prepare(a_picture(np.zeros((9, 9, 3), np.uint8)), size)
    assert len(str(caught.value)) < 200


def test_too_large_an_input_is_refused_before_it_is_made():
    long = a_picture(np.zeros((10, 200, 3), np.uint8))
    assert prepare(long, 224).size == (224, 4480)
    with pytest.raises(BadPicture, match=r"17920x896 pixels.*4 megapixels"):
        prepare(long, 896)


@pytest.mark.parametrize("size", ["published", 224])
def test_view_is_what_the_network_saw(size):
    levels = np.arange(256, dtype=np.uint8).repeat(3 * 256).reshape(256, 256, 3)
    prepared = prepare(a_picture(levels), size)
    view = np.asarray(prepared.view())
    again = (torch.tensor(view / 255.0).permute(2, 0, 1) - torch.tensor(MEAN).view(3, 1, 1)) / (
        torch.tensor(STD).view(3, 1, 1)
    )
    assert torch.allclose(again.float(), prepared.tensor[0], atol=1e-5)
    assert prepared.view().size == prepared.size[::-1]


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(60, 900),
    height=st.integers(60, 900),
    size=st.sampled_from(["published", 224, 320]),
    x=st.floats(0.2, 0.75),
    y=st.floats(0.2, 0.75),
)
def test_box_leads_back_to_the_place_in_the_picture(width, height, size, x, y):
    """A bright square's centre of mass, as the network sees it, maps to where it was painted."""
    side = max(8, min(width, height) // 12)
    cx, cy = width // 2, height // 2
    span = min(width, height) * 0.6
    left, top = int(cx + (x - 0.5) * span), int(cy + (y - 0.5) * span)
    scene = np.zeros((height, width, 3), np.uint8)
    scene[top : top + side, left : left + side] = 255
    prepared = prepare(a_picture(scene), size)
    seen = np.asarray(prepared.view())[..., 0].astype(float)
    rows, columns = np.indices(seen.shape) + 0.5
    x0, y0, x1, y1 = prepared.box
    found_x = x0 + (columns * seen).sum() / seen.sum() / seen.shape[1] * (x1 - x0)
    found_y = y0 + (rows * seen).sum() / seen.sum() / seen.shape[0] * (y1 - y0)
    assert found_x == pytest.approx(left + side / 2, abs=0.02 * side + 0.1)
    assert found_y == pytest.approx(top + side / 2, abs=0.02 * side + 0.1)


def test_box_of_the_published_crop_is_exact():
    # 500x333: resized to 384x256 (not 384.38), cropped from (80, 16).
    prepared = prepare(a_picture(np.zeros((333, 500, 3), np.uint8)))
    x, y = 500 / 384, 333 / 256
    assert prepared.box == pytest.approx((80 * x, 16 * y, 304 * x, 240 * y))


@settings(max_examples=50, deadline=None)
@given(
    width=st.integers(30, 500),
    height=st.integers(30, 500),
    size=st.sampled_from(["published", 224]),
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_cells_tile_the_box_and_are_found_again(width, height, size, shape):
    prepared = prepare(a_picture(np.zeros((height, width, 3), np.uint8)), size)
    rows, columns = shape
    left, top, right, bottom = prepared.box
    assert prepared.cell_box(0, 0, shape)[:2] == pytest.approx((left, top))
    assert prepared.cell_box(rows - 1, columns - 1, shape)[2:] == pytest.approx((right, bottom))
    for row, column in ((0, 0), (rows // 2, columns // 3), (rows - 1, columns - 1)):
        x0, y0, x1, y1 = prepared.cell_box(row, column, shape)
        assert prepared.cell_at((x0 + x1) / 2, (y0 + y1) / 2, shape) == (row, column)
        assert x1 - x0 == pytest.approx((right - left) / columns)
    for outside in ((left - 1, top), (left, top - 1), (right, top), (left, bottom)):
        assert prepared.cell_at(*outside, shape) is None
    assert prepared.cell_at(float("nan"), top, shape) is None
