"""Encoded pictures to arrays and back, with limits."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from avsctl.errors import AvsctlError
from avsctl.pictures import open_picture


def decode_rgb(data: bytes, *, max_pixels: int | None = None) -> np.ndarray:
    """Decode a JPEG, PNG or other picture to (H, W, 3) uint8 RGB.

    Grey, palette, CMYK and transparent pictures are converted; orientation tags are ignored, so that a
    picture keeps the pixels its labels were drawn on.

    Raises: ValueError: If the data are broken, cut off, or exceed `max_pixels`.
    """
    return np.asarray(_open(data, max_pixels).convert("RGB"))


def decode_index(data: bytes, *, max_pixels: int | None = None) -> np.ndarray:
    """Decode an 8-bit label picture (palette or grey) to (H, W) uint8 class indices.

    Raises: ValueError: If the data are broken, too large, or of another kind (RGB, 16-bit, 1-bit).
    """
    return np.asarray(_open_index(data, max_pixels))


def decode_palette(data: bytes, *, max_pixels: int | None = None) -> np.ndarray | None:
    """Read the palette of a label picture: (n, 3) uint8 with n <= 256, None for grey pictures.

    Raises: ValueError: As `decode_index`.
    """
    image = _open_index(data, max_pixels)
    if image.mode != "P":
        return None
    return np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)


def encode_index(index: np.ndarray, palette: np.ndarray | None = None) -> bytes:
    """Encode (H, W) class indices in 0..255 as an 8-bit PNG, with a (n <= 256, 3) uint8 palette if given.

    Raises: ValueError: If the indices are not whole numbers in 0..255 or the shapes are wrong.
    """
    index = np.asarray(index)
    if index.ndim != 2 or index.size == 0 or index.dtype.kind not in "bui":
        raise ValueError(f"class indices are (H, W) whole numbers, not {index.shape} {index.dtype}")
    if index.dtype != np.uint8 and (index.min() < 0 or index.max() > 255):
        raise ValueError(f"class indices must be in 0..255, found {index.min()}..{index.max()}")
    image = Image.fromarray(np.ascontiguousarray(index, dtype=np.uint8))
    if palette is not None:
        image.putpalette(_palette_bytes(palette))
    return _encoded(image, "PNG", optimize=False)


def encode_png(rgb: np.ndarray) -> bytes:
    """Encode (H, W, 3) uint8 RGB as PNG. Raises: ValueError: If the array has another shape or type."""
    return _encoded(Image.fromarray(checked_rgb(rgb)), "PNG")


def encode_jpeg(rgb: np.ndarray, quality: int = 95) -> bytes:
    """Encode (H, W, 3) uint8 RGB as JPEG. Raises: ValueError: If the array has another shape or type."""
    return _encoded(Image.fromarray(checked_rgb(rgb)), "JPEG", quality=quality, subsampling=0)


def read_rgb(path: str | Path, *, max_pixels: int | None = None) -> np.ndarray:
    """Read a picture file as (H, W, 3) uint8.

    Raises: AvsctlError: If it is missing or broken, with its path.
    """
    return _decoded_file(path, decode_rgb, max_pixels)


def read_index(path: str | Path, *, max_pixels: int | None = None) -> np.ndarray:
    """Read a label picture as (H, W) uint8.

    Raises: AvsctlError: If it is missing or broken, with its path.
    """
    return _decoded_file(path, decode_index, max_pixels)


def checked_rgb(rgb: np.ndarray) -> np.ndarray:
    """Return the picture, contiguous. Raises: ValueError: If it is not (H, W, 3) uint8 with H, W >= 1."""
    rgb = np.asarray(rgb)
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise ValueError(f"a picture is (H, W, 3) uint8, not {rgb.shape} {rgb.dtype}")
    return np.ascontiguousarray(rgb)


def _open(data: bytes, max_pixels: int | None) -> Image.Image:
    try:
        return open_picture(data, limit=max_pixels)
    except ValueError as error:
        raise ValueError(f"the picture {error}") from None


def _open_index(data: bytes, max_pixels: int | None) -> Image.Image:
    image = _open(data, max_pixels)
    if image.mode not in ("P", "L"):
        raise ValueError(f"a label picture is 8-bit palette or grey, this one is {image.mode}")
    return image


def _palette_bytes(palette: Sequence | np.ndarray) -> bytes:
    colours = np.asarray(palette)
    if colours.ndim != 2 or colours.shape[1] != 3 or not 1 <= len(colours) <= 256 or colours.dtype != np.uint8:
        raise ValueError(f"a palette is (n <= 256, 3) uint8, not {colours.shape} {colours.dtype}")
    return colours.tobytes()


def _encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _decoded_file(path: str | Path, decode, max_pixels: int | None) -> np.ndarray:
    try:
        return decode(Path(path).read_bytes(), max_pixels=max_pixels)
    except OSError as error:
        raise AvsctlError(f"cannot read the picture {path}: {error.strerror or error}; check the path") from error
    except ValueError as error:
        raise AvsctlError(f"{path}: {error}; replace the file") from error
