"""Every file becomes upright RGB pixels or an ImageError; masks of every kind become grey levels."""

import contextlib
import io
import os
import pickle
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageOps

from sinet.images.decode import (
    ImageError,
    ReadError,
    decode,
    decode_image,
    encode_mask,
    encode_png,
    pixel_id,
    probe,
    read_bytes,
    read_image,
    read_mask,
    to_255,
    upright,
)
from sinet.images.mask_file import decode_mask, decode_probability


def picture(height=48, width=64):
    """A smooth colour picture without symmetry, so that a wrong turn or swap of channels shows."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 3, y * 4, (x + y) * 1.5 + 20], axis=2).clip(0, 255).astype(np.uint8)


def saved(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def jpeg(pixels, **options):
    return saved(Image.fromarray(pixels), "JPEG", quality=95, **options)


def png_header(width, height):
    """A PNG that claims a size and holds nothing of it."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return header + b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def reason_of(function, *arguments):
    with pytest.raises(ImageError) as caught:
        function(*arguments)
    assert caught.value.detail == str(caught.value)
    return caught.value.reason


def rgb(pixels):
    return Image.fromarray(pixels)


LOSSLESS = {
    "png": lambda p: saved(rgb(p)),
    "bmp": lambda p: saved(rgb(p), "BMP"),
    "tiff": lambda p: saved(rgb(p), "TIFF"),
    "webp": lambda p: saved(rgb(p), "WEBP", lossless=True),
    "opaque alpha": lambda p: saved(rgb(p).convert("RGBA")),
    "interlaced": lambda p: cv2.imencode(".png", p[..., ::-1])[1].tobytes(),
    "animated png": lambda p: saved(rgb(p), save_all=True, append_images=[rgb(255 - p)]),
    "animated webp": lambda p: saved(
        rgb(p), "WEBP", save_all=True, append_images=[rgb(255 - p)], lossless=True
    ),
    "tiff pages": lambda p: saved(rgb(p), "TIFF", save_all=True, append_images=[rgb(255 - p)]),
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_formats_give_the_first_frame_exactly(kind):
    pixels = decode_image(LOSSLESS[kind](picture()))
    assert np.array_equal(pixels, picture())
    assert pixels.dtype == np.uint8 and pixels.flags.writeable and pixels.flags.c_contiguous


LOSSY = {
    "jpeg": lambda p: jpeg(p),
    "progressive": lambda p: jpeg(p, progressive=True),
    "cmyk": lambda p: saved(rgb(p).convert("CMYK"), "JPEG", quality=95),
    "palette": lambda p: saved(rgb(p).quantize(256)),
    "gif": lambda p: saved(rgb(p), "GIF"),
    "animated gif": lambda p: saved(rgb(p), "GIF", save_all=True, append_images=[rgb(255 - p)]),
}


@pytest.mark.parametrize("kind", LOSSY)
def test_lossy_formats_come_close(kind):
    pixels = decode_image(LOSSY[kind](picture()))
    assert pixels.shape == picture().shape
    assert np.abs(pixels.astype(int) - picture()).mean() < 12


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(picture()[..., 0]),
        Image.fromarray(picture()[..., 0].astype(np.uint16) * 257),
        Image.fromarray(picture()[..., 0].astype(np.int32) * 257),
        Image.merge("LA", [Image.fromarray(picture()[..., 0]), Image.new("L", (64, 48), 255)]),
    ],
    ids=["8 bit", "16 bit", "32 bit", "with alpha"],
)
def test_grey_of_any_depth_keeps_its_levels(image):
    pixels = decode_image(saved(image, "TIFF" if image.mode == "I" else "PNG"))
    assert all(np.array_equal(pixels[..., channel], picture()[..., 0]) for channel in range(3))


def test_grey_of_16_bits_with_a_transparent_level_keeps_its_levels():
    deep = Image.fromarray(picture()[..., 0].astype(np.uint16) * 257)
    data = saved(deep, transparency=1)
    assert b"tRNS" in data
    assert np.array_equal(decode_image(data), decode_image(saved(deep)))
    mask = saved(Image.fromarray(MASK.astype(np.uint16) * 65535), transparency=1)
    assert np.array_equal(decode_mask(mask).person, MASK)


def test_alpha_lies_on_white():
    image = Image.new("RGBA", (4, 2), (200, 0, 0, 0))
    image.putpixel((1, 0), (200, 0, 0, 255))
    pixels = decode_image(saved(image))
    assert pixels[0, 1].tolist() == [200, 0, 0]
    assert pixels[1, 3].tolist() == [255, 255, 255]


def test_a_transparent_palette_colour_lies_on_white():
    image = Image.new("P", (4, 2), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((0, 0), 0)
    pixels = decode_image(saved(image, transparency=0))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[1, 1].tolist() == [40, 50, 60]


def tagged(pixels, orientation, format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(rgb(pixels), format, exif=exif, **({"quality": 95} if format == "JPEG" else {}))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_orientation_is_baked_as_pillow_does(orientation, format):
    data = tagged(picture(), orientation, format)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert np.array_equal(decode_image(data), expected)


@given(arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5))), st.integers(1, 8))
def test_upright_is_the_transpose_of_the_exif_standard(pixels, orientation):
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    assert np.array_equal(upright(pixels, orientation), np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_counts_as_upright(orientation):
    assert np.array_equal(decode_image(tagged(picture(), orientation, "PNG")), picture())


def test_damaged_exif_does_not_cost_the_picture():
    data = jpeg(picture(), exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 30)
    assert decode_image(data).shape == picture().shape


PLAIN = [
    ("jpeg", jpeg(picture()), ".jpg"),
    ("progressive jpeg", jpeg(picture(), progressive=True), ".jpg"),
    ("png", saved(rgb(picture())), ".png"),
    ("grey jpeg", jpeg(picture()[..., 0]), ""),
    ("cmyk jpeg", saved(rgb(picture()).convert("CMYK"), "JPEG"), ""),
    ("turned jpeg", tagged(picture(), 6, "JPEG"), ""),
    ("png with alpha", saved(rgb(picture()).convert("RGBA")), ""),
    ("palette png", saved(rgb(picture()).quantize(8)), ""),
    ("animated png", LOSSLESS["animated png"](picture()), ""),
    ("bmp", saved(rgb(picture()), "BMP"), ""),
]


@pytest.mark.parametrize(("data", "suffix"), [row[1:] for row in PLAIN], ids=[row[0] for row in PLAIN])
def test_only_plain_files_may_be_passed_on(data, suffix):
    assert decode(data).plain == suffix


UNUSABLE = [
    ("zero bytes", b"", "empty_file"),
    ("text", b"404 not found\n" * 20, "not_an_image"),
    ("html", b"<!doctype html><html></html>", "not_an_image"),
    ("svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image"),
    ("half a jpeg", jpeg(picture())[:800], "truncated"),
    ("half a png", saved(rgb(picture()))[:100], "truncated"),
    ("a jpeg's first bytes", jpeg(picture())[:4], "truncated"),
    ("a jpeg's header", jpeg(picture())[:300], "truncated"),
    ("a phone's heic", b"\0\0\0\x18ftypheic" + bytes(200), "not_an_image"),
    ("a jpeg with a zeroed tail", jpeg(picture())[:900] + bytes(4000), "truncated"),
    ("bomb", png_header(40_000, 40_000), "too_large"),
    ("small bomb", png_header(9_000, 9_000), "too_large"),
    ("size but no pixels", png_header(50, 50), "truncated"),
    (
        "levels past 16 bit",
        saved(Image.fromarray(np.full((4, 4), 70_000, np.int32)), "TIFF"),
        "unsupported_pixels",
    ),
    (
        "not a number",
        saved(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"),
        "unsupported_pixels",
    ),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("data", "reason"), [row[1:] for row in UNUSABLE], ids=[row[0] for row in UNUSABLE])
def test_what_is_no_picture_says_why(data, reason):
    assert reason_of(decode_image, data) == reason


def test_a_video_is_not_called_a_phones_picture():
    for brand, words in (
        (b"heic", "HEIC and AVIF"),
        (b"avif", "HEIC and AVIF"),
        (b"isom", "a video or sound"),
    ):
        with pytest.raises(ImageError, match=words):
            decode_image(b"\0\0\0\x18ftyp" + brand + bytes(200))


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("was decoded"))
    assert reason_of(decode_image, saved(rgb(picture())), 1000) == "too_large"


def test_a_thumbnails_end_marker_is_not_the_pictures():
    small = jpeg(picture(8, 8))
    segment = b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small
    data = jpeg(picture())
    data = data[:2] + segment + data[2:]
    assert decode_image(data).shape == picture().shape
    assert reason_of(decode_image, data[:-40] + bytes(4000)) == "truncated"


@pytest.mark.parametrize(
    "trailer", [b"", bytes(500), b"SEFT trailer of a phone"], ids=["none", "zeros", "text"]
)
def test_bytes_after_the_end_marker_do_no_harm(trailer):
    assert decode_image(jpeg(picture()) + trailer).shape == picture().shape


def test_a_png_with_one_bit_flipped_is_damaged_wherever_the_bit_is(tmp_path):
    mask = encode_mask(MASK)
    for data, functions in (
        (saved(rgb(picture())), [decode_image]),
        (mask, [decode_mask, mask_of(tmp_path)]),
    ):
        for at in range(8, len(data), 7):
            flipped = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
            for function in functions:
                assert reason_of(function, flipped) in ("truncated", "not_an_image", "too_large"), at


def mask_of(folder):
    """read_mask, of bytes."""

    def read(data):
        (folder / "mask.png").write_bytes(data)
        return read_mask(folder / "mask.png")

    return read


@pytest.mark.parametrize("lost", [1, 4, 12, 20])
def test_a_png_without_its_end_is_damaged(lost):
    assert reason_of(decode_image, saved(rgb(picture()))[:-lost]) == "truncated"


def test_bytes_after_a_pngs_end_do_no_harm():
    assert np.array_equal(decode_image(saved(rgb(picture())) + b"trailer"), picture())


SEEDS = [
    jpeg(picture()),
    jpeg(picture(), progressive=True),
    tagged(picture(), 6, "JPEG"),
    saved(rgb(picture())),
    saved(rgb(picture()), "GIF"),
    saved(rgb(picture()), "TIFF", compression="tiff_lzw"),
    saved(rgb(picture()), "WEBP"),
    saved(rgb(picture()), "BMP"),
    saved(rgb(picture()).quantize(16)),
    saved(Image.fromarray(picture()[..., 0].astype(np.uint16) * 257)),
    LOSSLESS["animated webp"](picture()),
]
DAMAGE = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12)


def damaged(seed, flips, cut):
    data = bytearray(SEEDS[seed])
    for share, value in flips:
        # Headers decide what a decoder does, so half of the flips fall there.
        at = int(share * 2 * 64) if share < 0.5 else int((share - 0.5) * 2 * len(data))
        data[min(at, len(data) - 1)] = value
    return bytes(data[: int(cut * len(data))])


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(SEEDS) - 1), DAMAGE, st.floats(0, 1))
@example(0, [], 1.0)
def test_damage_gives_a_picture_or_an_image_error(seed, flips, cut):
    data = damaged(seed, flips, cut)
    for function in (decode_image, lambda data, most: decode_mask(data, max_pixels=most).person):
        try:
            pixels = function(data, 100_000)
        except ImageError as error:
            assert error.reason and error.detail
        else:
            assert pixels.dtype == np.uint8 and pixels.shape[0] * pixels.shape[1] <= 100_000
    with contextlib.suppress(ImageError):
        shares = decode_probability(data, 100_000)
        assert shares.dtype == np.float32 and shares.min() >= 0 and shares.max() <= 1


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM"])
)
def test_noise_is_an_image_error(data, start):
    with contextlib.suppress(ImageError):
        decode_image(start + data, 10_000)


MASK = np.zeros((20, 30), np.uint8)
MASK[5:15, 8:22] = 1


def palette(colours):
    image = Image.fromarray(MASK).convert("P")
    image.putpalette(colours)
    return saved(image)


MASKS = {
    "0/255": saved(Image.fromarray(MASK * 255)),
    "0/1 that looks black": saved(Image.fromarray(MASK)),
    "one bit": saved(Image.fromarray(MASK * 255).convert("1")),
    "16 bit": saved(Image.fromarray(MASK.astype(np.uint16) * 65535)),
    "16 bit 0/1": saved(Image.fromarray(MASK.astype(np.uint16))),
    "rgb": saved(Image.fromarray(np.repeat(MASK[..., None] * 255, 3, axis=2))),
    "red": saved(Image.fromarray(MASK[..., None] * np.array([255, 0, 0], np.uint8))),
    "white on transparent": saved(
        Image.merge("LA", [Image.new("L", (30, 20), 255), Image.fromarray(MASK * 255)])
    ),
    "opaque": saved(Image.fromarray(MASK * 255).convert("RGBA")),
    "palette of black and white": palette([0, 0, 0, 255, 255, 255]),
    "palette of black and dark red": palette([0, 0, 0, 100, 0, 0]),
    "float shares": saved(Image.fromarray(MASK.astype(np.float32)), "TIFF"),
    "jpeg": saved(Image.fromarray(MASK * 255), "JPEG", quality=95),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_in_every_dress_are_the_same_mask(kind):
    assert np.array_equal(decode_mask(MASKS[kind]).person, MASK)
    assert np.array_equal(decode_probability(MASKS[kind]) > 0.5, MASK == 1)


def test_a_palette_whose_first_colour_is_light_goes_by_colour():
    assert np.array_equal(decode_mask(palette([255, 255, 255, 0, 0, 0])).person, 1 - MASK)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (np.array([[0, 1]], np.uint8), [[0, 255]]),
        (np.array([[False, True]]), [[0, 255]]),
        (np.array([[0.0, 0.5]]), [[0, 128]]),
        (np.array([[0, 2, 255]], np.int16), [[0, 2, 255]]),
        (np.array([[0, 65535]], np.uint16), [[0, 255]]),
        (np.array([[-0.05, 1.004, 0.5]]), [[0, 255, 128]]),
        (np.array([[-3.0, 258.5, 128.0]], np.float32), [[0, 255, 128]]),
        (np.array([[0.0, 65535.0]]), [[0, 255]]),
    ],
)
def test_levels_of_every_range_become_grey(levels, expected):
    assert to_255(levels).tolist() == expected


@pytest.mark.parametrize(
    "levels", [[-1, 255], [0, 70000], [0, 1.5], [-0.2, 1.0], [0, np.nan], [0, np.inf], []]
)
def test_levels_of_no_range_are_refused(levels):
    assert reason_of(to_255, np.array([levels])) == "unsupported_pixels"


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1)))
def test_masks_survive_the_disk(mask):
    data = encode_mask(mask)
    assert np.array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), 0), mask * 255)
    assert np.array_equal(decode_mask(data).person, mask)
    assert encode_mask(mask) == data


@given(arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3))))
def test_png_is_lossless_and_the_id_is_of_the_pixels(pixels):
    again = decode_image(encode_png(pixels))
    assert np.array_equal(again, pixels)
    assert pixel_id(again) == pixel_id(pixels)
    changed = pixels.copy()
    changed[0, 0, 0] ^= 1
    assert pixel_id(changed) != pixel_id(pixels)


def test_the_id_sees_the_shape_and_not_the_memory_layout():
    pixels = picture()
    assert pixel_id(np.asfortranarray(pixels)) == pixel_id(pixels)
    assert pixel_id(pixels.reshape(64, 48, 3)) != pixel_id(pixels)
    assert len(pixel_id(pixels)) == 16


def test_read_mask_reads_ours_and_refuses_the_rest(tmp_path):
    path = tmp_path / "mask.png"
    path.write_bytes(encode_mask(MASK))
    assert np.array_equal(read_mask(path), MASK)
    for data, reason in [
        (b"", "empty_file"),
        (jpeg(picture()), "not_an_image"),
        (encode_mask(MASK)[:40], "truncated"),
        (png_header(40_000, 40_000), "too_large"),
    ]:
        path.write_bytes(data)
        assert reason_of(read_mask, path) == reason


def test_files_that_are_no_files(tmp_path):
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    for function in (read_bytes, read_image, read_mask, probe):
        for name in ("loop.jpg", "folder.jpg", "pipe.jpg", "x" * 300 + ".jpg", "a\0b.jpg"):
            assert reason_of(function, tmp_path / name) == "unreadable"
        for name in ("gone.jpg", "absent.jpg", "pipe.jpg/below.jpg"):  # they may be back the next time
            with pytest.raises(ReadError, match="cannot be read: No") as caught:
                function(tmp_path / name)
            assert pickle.loads(pickle.dumps(caught.value)).filename == str(tmp_path / name)


def test_a_lack_of_memory_is_no_damage(tmp_path):
    """A process that may not have the memory of the pixels: what is in the file stays unknown."""
    path = tmp_path / "large.png"
    Image.new("RGB", (6000, 6000)).save(path, compress_level=1)
    program = (
        "import resource\nfrom pathlib import Path\nfrom sinet.images.decode import read_image\nimport psutil\n"
        "most = psutil.Process().memory_info().vms + 2**26\n"
        "resource.setrlimit(resource.RLIMIT_AS, (most, most))\n"
        f"read_image(Path({str(path)!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == "MemoryError"


def test_a_file_without_end_is_not_read(tmp_path):
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(2**33)
    assert reason_of(read_image, path) == "too_large"


def test_probe_reads_the_header(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(tagged(picture(), 6, "JPEG")[:700])
    assert probe(path) == (64, 48)
    path.write_bytes(png_header(40_000, 40_000))
    assert reason_of(probe, path) == "too_large"
    path.write_text("no picture")
    assert reason_of(probe, path) == "not_an_image"


def test_an_error_survives_the_way_back_from_a_worker():
    error = pickle.loads(pickle.dumps(ImageError("truncated", "ends early")))
    assert (error.reason, error.detail) == ("truncated", "ends early")
