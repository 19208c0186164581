from __future__ import annotations

import io
import subprocess
import sys
import zlib
from contextlib import suppress

import numpy as np
import pytest
from made_videos import corners
from PIL import Image

from avsctl.errors import AvsctlError
from avsctl.rendering import images


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1"])
def test_every_kind_of_picture_becomes_rgb(mode):
    image = Image.fromarray(corners()).convert(mode)
    data = saved(image, "TIFF" if mode == "CMYK" else "PNG")
    rgb = images.decode_rgb(data)
    assert rgb.shape == (48, 64, 3) and rgb.dtype == np.uint8
    assert np.array_equal(rgb, np.asarray(image.convert("RGB")))


def test_rgb_survives_png_exactly_and_jpeg_closely():
    picture = corners()
    assert np.array_equal(images.decode_rgb(images.encode_png(picture)), picture)
    again = images.decode_rgb(images.encode_jpeg(picture)).astype(int)
    assert np.abs(again - picture).mean() < 3


def test_class_indices_and_palette_survive():
    rng = np.random.default_rng(0)
    index = rng.integers(0, 71, (20, 30))
    palette = rng.integers(0, 256, (71, 3), np.uint8)
    data = images.encode_index(index, palette)
    assert np.array_equal(images.decode_index(data), index)
    assert np.array_equal(images.decode_palette(data)[:71], palette)
    grey = images.encode_index(np.full((2, 3), 255, np.uint8))
    assert (images.decode_index(grey) == 255).all() and images.decode_palette(grey) is None


def test_an_index_picture_of_another_kind_is_refused():
    for mode in ("RGB", "1", "I;16", "RGBA"):
        with pytest.raises(ValueError, match="8-bit"):
            images.decode_index(saved(Image.new(mode, (4, 4))))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_every_truncation_and_flipped_byte_is_an_error_or_a_picture(kind):
    data = saved(Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)), kind)
    for length in range(0, len(data) * 9 // 10, 37):
        with pytest.raises(ValueError):
            images.decode_rgb(data[:length])
    for position in range(0, len(data), 11):
        broken = bytearray(data)
        broken[position] ^= 0x55
        with suppress(ValueError):
            assert images.decode_rgb(bytes(broken), max_pixels=10**6).ndim == 3


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    import struct

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    with pytest.raises(ValueError):
        images.decode_index(bomb)
    with pytest.raises(ValueError, match="more than 3,000 pixels|64x48"):
        images.decode_rgb(images.encode_png(corners()), max_pixels=3000)


@pytest.mark.parametrize(
    "index", [np.zeros((2, 2, 1), int), np.full((2, 2), 256), np.full((2, 2), -1), np.full((2, 2), np.nan)]
)
def test_what_is_no_class_index_is_not_encoded(index):
    with pytest.raises(ValueError):
        images.encode_index(index)


def test_files_are_named_in_errors(tmp_path):
    (tmp_path / "b.png").write_bytes(b"no picture")
    for name in ("b.png", "absent.png"):
        with pytest.raises(AvsctlError, match=name):
            images.read_rgb(tmp_path / name)
    (tmp_path / "i.png").write_bytes(images.encode_index(np.eye(3, dtype=int)))
    assert np.array_equal(images.read_index(tmp_path / "i.png"), np.eye(3))


def test_the_module_loads_no_video_library_nor_torch():
    code = (
        "import sys, avsctl.rendering.images; "
        "print([name for name in ('av', 'torch', 'matplotlib', 'scipy') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
