"""The pixels that odd but good pictures get: upright RGB on white, and nothing personal."""

import hashlib
import io
import struct
import warnings

import hostile
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from sge_viz.images import Picture, open_picture, prepare


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(picture.image)


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
