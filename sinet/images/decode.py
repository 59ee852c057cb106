"""Safe decoding of pictures and masks: one way from a file to upright RGB pixels, for the whole project.

Whatever the bytes are, the result is an array or an ImageError; the size is checked before decoding. What the machine
did not read or had no memory for says nothing of the picture: that is a ReadError or a MemoryError.
"""

import errno
import hashlib
import io
import os
import stat
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

Array = NDArray[np.uint8]

MAX_PIXELS = 64_000_000
OVERSHOOT = 0.1  # of their range: how far cubic and Lanczos filters carry levels of floats out of it
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
HEIC_BRANDS = frozenset(b"heic heix heim heis hevc hevx mif1 mif2 msf1 miaf avif avis avio".split())
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class ImageError(ValueError):
    """A file that is no usable picture. `reason` is a short code, the message a sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["ImageError"], tuple[str, str]]:
        return ImageError, (self.reason, self.detail)  # so that it survives the way back from a worker


class ReadError(OSError):
    """A file that the machine did not read, whatever it holds: access, a disk, a share, too many open files.

    It has `errno`, `strerror` and `filename`; another try may go well, so that nothing may be left out for it.
    """

    def __str__(self) -> str:
        return f"the file cannot be read: {self.strerror}"


@dataclass(frozen=True)
class Decoded:
    """A picture's upright pixels and what its file was like."""

    pixels: Array  # (H, W, 3) uint8 RGB
    orientation: int  # EXIF orientation that was baked, 1..8
    plain: Literal[".jpg", ".png", ""]  # suffix under which the bytes can be passed on unchanged


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> Array:
    """The file as upright RGB, (H, W, 3) uint8; ImageError for anything else."""
    return decode_image(read_bytes(path, max_pixels), max_pixels)


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Array:
    """The first frame as upright RGB, (H, W, 3) uint8: EXIF applied, alpha on white, 16 bit scaled."""
    return decode(data, max_pixels).pixels


def picture_pixels(picture: Image.Image) -> Array:
    """A picture of Pillow's as `decode_image` makes it of the file; ImageError where its file is damaged."""
    try:
        picture.load()
        return upright(_rgb(picture), _orientation(picture))
    except Exception as error:  # as in `loaded`: Pillow raises a dozen types
        raise ImageError("truncated", f"the picture ends early or is damaged: {error}") from error


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Decoded:
    """decode_image, and with it what the file was like."""
    with loaded(data, max_pixels) as (image, orientation):
        plain = _plain_suffix(image, data) if orientation == 1 else ""
        return Decoded(upright(_rgb(image), orientation), orientation, plain)


def to_255(levels: NDArray[np.generic]) -> Array:
    """Grey levels of any numeric type as uint8 0..255: 0/1 becomes 0/255, 16 bit loses its low byte.

    Levels of floats are clipped where a filter carried them a little over the ends of their range.
    """
    if levels.dtype.kind not in "buif" or not levels.size:
        raise ImageError("unsupported_pixels", f"levels of type {levels.dtype} are no grey levels")
    over = OVERSHOOT if levels.dtype.kind == "f" else 0.0
    lowest, highest = float(levels.min()), float(levels.max())
    top = next((top for top in (1, 255, 65535) if highest <= top * (1 + over)), 0)
    between = bool(over) and 1 + over < highest < 2  # no 0 to 1, and too dark for 0 to 255
    if not top or between or not lowest >= -top * over:  # NaN fails the first
        found = f"levels reach from {lowest:g} to {highest:g}"
        raise ImageError("unsupported_pixels", f"{found}: neither 0 to 1, nor 0 to 255, nor 0 to 65535")
    if top == 65535 and not over:
        return np.asarray(levels.astype(np.int64) >> 8, np.uint8)
    if top == 255 and not over:
        return np.asarray(levels, np.uint8)
    return np.asarray(np.round(np.clip(levels.astype(np.float32) / top, 0, 1) * 255), np.uint8)


def upright(pixels: Array, orientation: int) -> Array:
    """Apply an EXIF orientation (1..8; anything else counts as 1) to (H, W) or (H, W, C); contiguous."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def probe(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height as stored (before EXIF), from the header alone; ImageError where it is no picture."""
    _check_regular(path, max_pixels)
    with _reading(path), path.open("rb") as file, _opened(file, max_pixels) as image:
        return image.width, image.height


def read_mask(path: Path) -> Array:
    """One of our own masks (0/255 PNG) as (H, W) uint8 in {0, 1}."""
    return decode_own_mask(read_bytes(path), path.name)


def decode_own_mask(data: bytes, name: str) -> Array:
    """The same of the bytes of a file, whose `name` an ImageError tells."""
    if not data.startswith(_PNG_SIGNATURE) or len(data) < 26:
        raise ImageError("not_an_image", f"{name} is no PNG mask")
    if int.from_bytes(data[16:20]) * int.from_bytes(data[20:24]) > MAX_PIXELS:
        raise ImageError("too_large", f"{name} has more than {MAX_PIXELS:,} pixels")
    if not _png_is_whole(data):
        raise ImageError("truncated", f"{name} is a damaged PNG: a checksum does not hold")
    try:
        mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error as error:
        raise ImageError("truncated", f"{name} is a damaged PNG: {error}") from error
    if mask is None:
        raise ImageError("truncated", f"{name} is a damaged PNG")
    return (mask > 127).astype(np.uint8)


def encode_mask(mask: Array) -> bytes:
    """(H, W) uint8 in {0, 1} as a 0/255 PNG."""
    return encode_png(mask * np.uint8(255))


def encode_png(pixels: Array) -> bytes:
    """(H, W) grey or (H, W, 3) RGB uint8 as a lossless PNG; the same pixels give the same bytes."""
    bgr = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise ValueError(f"cannot encode an array of shape {pixels.shape} as PNG")
    return bytes(data.tobytes())


def pixel_id(rgb: Array) -> str:
    """First 16 hex digits of sha256 over the shape and the upright RGB pixels: equal pictures, equal id."""
    digest = hashlib.sha256(repr(rgb.shape).encode())
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.hexdigest()[:16]


def read_bytes(path: Path, max_pixels: int = MAX_PIXELS) -> bytes:
    """The bytes of a regular file; ImageError for folders, pipes, devices, loops of links, endless files.

    ReadError where the system does not give them, also of a file that is gone.
    """
    _check_regular(path, max_pixels)
    with _reading(path):
        return path.read_bytes()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tell what the system says of a file from what the file itself is."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):  # of the folder as it is, at any time
            raise ImageError("unreadable", f"the file cannot be read: {error.strerror}") from error
        raise ReadError(error.errno, os.strerror(error.errno), str(path)) from error


def _check_regular(path: Path, max_pixels: int) -> None:
    try:
        with _reading(path):
            status = path.stat()
    except ImageError:
        raise
    except ValueError as error:
        raise ImageError("unreadable", f"no file can have this name: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("unreadable", "a folder, pipe or device stands where a picture was expected")
    if status.st_size == 0:
        raise ImageError("empty_file", "the file has zero bytes")
    # 16-bit RGBA without compression takes 8 bytes a pixel; a larger file is nothing we could use.
    if status.st_size > max_pixels * 8 + 2**24:
        raise ImageError("too_large", f"{status.st_size:,} bytes is too much for {max_pixels:,} pixels")


@contextmanager
def _opened(file: BinaryIO, max_pixels: int) -> Iterator[Image.Image]:
    """A picture whose header was read and whose size is allowed."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of sizes, which are checked here, and of metadata, which is not used
        try:
            image = Image.open(file, formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise ImageError("too_large", f"the picture has more than {max_pixels:,} pixels") from error
        except Exception as error:  # Pillow's readers raise a dozen types for damaged headers
            _pass_on_faults_of_the_machine(error)
            file.seek(0)
            raise _unopened(file.read(16)) from error
        with image:
            if image.width * image.height > max_pixels:
                raise ImageError("too_large", f"{image.width}x{image.height} is over {max_pixels:,} pixels")
            yield image


@contextmanager
def loaded(data: bytes, max_pixels: int) -> Iterator[tuple[Image.Image, int]]:
    """A decoded picture and its EXIF orientation, 1..8.

    A JPEG that ends early but has an end marker looks whole to Pillow, which fills its rest with grey; such a
    file is not seen through.
    """
    if not data:
        raise ImageError("empty_file", "the file has zero bytes")
    with _opened(io.BytesIO(data), max_pixels) as image:
        if image.format == "PNG" and not _png_is_whole(data):
            raise ImageError("truncated", "the PNG ends early or is damaged: a checksum does not hold")
        try:
            image.load()
        except Exception as error:  # as above: OSError, ValueError, struct.error, zlib.error, EOFError, ...
            _pass_on_faults_of_the_machine(error)
            raise ImageError("truncated", f"the picture ends early or is damaged: {error}") from error
        if image.format in ("JPEG", "MPO") and not _has_end_marker(data):
            raise ImageError("truncated", "the JPEG has no end marker: its tail is missing or overwritten")
        try:
            yield image, _orientation(image)
        except ImageError:
            raise
        except Exception as error:  # a conversion that fails is damage too, not a crash
            _pass_on_faults_of_the_machine(error)
            raise ImageError("unsupported_pixels", f"{image.mode} pixels cannot be used: {error}") from error


def _pass_on_faults_of_the_machine(error: Exception) -> None:
    """Raise what is no fault of the bytes: too little memory, or a system's answer (Pillow's own has no errno)."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
        raise error


def _unopened(head: bytes) -> ImageError:
    """Why a file cannot be opened, by its first bytes."""
    if (
        head.startswith((b"\xff\xd8\xff", _PNG_SIGNATURE, b"GIF8", b"II*\0", b"MM\0*"))
        or head[8:12] == b"WEBP"
    ):
        return ImageError("truncated", "it begins like a picture, but its header is cut off or damaged")
    if head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS:
        return ImageError("not_an_image", "HEIC and AVIF are not read; convert it to JPEG or PNG")
    if head[4:8] == b"ftyp":
        return ImageError("not_an_image", "the file is a video or sound, expected a picture")
    return ImageError("not_an_image", "the file is no JPEG, PNG, WebP, BMP, TIFF or GIF")


def _orientation(image: Image.Image) -> int:
    # Read after load(): Pillow turns TIFF pictures upright itself and then removes the tag.
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged metadata does not make the pixels unusable
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _has_end_marker(data: bytes) -> bool:
    """Whether an EOI marker follows the first scan; without it Pillow silently fills the gap with grey."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        # Walk over the segments, since a thumbnail inside EXIF has end markers of its own.
        at += 1 if data[at + 1] == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4])
    return data.find(b"\xff\xd9", min(at, len(data))) >= 0


def _png_is_whole(data: bytes) -> bool:
    """Whether each chunk up to IEND has its CRC-32; Pillow does not look at those of the pixels (IDAT)."""
    view, at = memoryview(data), len(_PNG_SIGNATURE)
    while at + 12 <= len(data):  # length, type, content, checksum
        end = at + 8 + int.from_bytes(view[at : at + 4])
        if end + 4 > len(data) or zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4]):
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = end + 4
    return False


def _plain_suffix(image: Image.Image, data: bytes) -> Literal[".jpg", ".png", ""]:
    if image.mode != "RGB" or "transparency" in image.info:
        return ""
    if image.format == "JPEG":
        return ".jpg"
    if image.format == "PNG" and data[24:26] == b"\x08\x02" and not getattr(image, "is_animated", False):
        return ".png"  # 8 bits, RGB
    return ""


def has_alpha(image: Image.Image) -> bool:
    """Whether a picture has transparency of any kind."""
    return image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info


def is_deep(image: Image.Image) -> bool:
    """Whether a grey picture has more than 8 bits, or floats."""
    return image.mode.startswith("I") or image.mode == "F"


def _rgb(image: Image.Image) -> Array:
    if is_deep(image):  # before transparency: Pillow clips more than 8 bits where it converts to RGBA
        return np.repeat(_sixteen(image)[:, :, None], 3, axis=2)
    if has_alpha(image):
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return np.array(Image.alpha_composite(white, rgba).convert("RGB"))
    return np.array(image.convert("RGB"))


def _sixteen(image: Image.Image) -> Array:
    """Grey of more than 8 bits: 16 bit keeps its high byte, numbers up to 255 and shares 0..1 stay."""
    levels = np.asarray(image)
    if image.mode.startswith("I;16"):
        return np.asarray(levels >> 8, np.uint8)
    return to_255(levels)
