"""A clip's pictures, layers and sound as a browser takes them, small.

The seconds of a clip lie side by side in one picture, a strip, so that a clip of ten seconds is a handful of files.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import soundfile
from PIL import Image

from avsctl.rendering.overlay import heat_colours, resize_index

MAX_SIDE = 320
"""Longest side of a second's picture; smaller ones keep their size."""
LEVELS = 16
"""Steps of a drawn probability: enough for the eye, and a fifth of the bytes. Sounding (128 of 255) starts a step."""
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def shown_size(width: int, height: int) -> tuple[int, int]:
    """The size of a second's picture in the strip, of the same shape."""
    scale = min(1.0, MAX_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def frame_strip(pictures: Sequence[np.ndarray], size: tuple[int, int]) -> bytes:
    """T pictures (H, W, 3) uint8 as one JPEG of T times `size` (width, height)."""
    width, height = size
    strip = Image.new("RGB", (width * len(pictures), height))
    for second, picture in enumerate(pictures):
        strip.paste(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS), (second * width, 0))
    return _encoded(strip, "JPEG", quality=80, optimize=True)


def class_strip(masks: Sequence[np.ndarray | None], colours: np.ndarray, size: tuple[int, int]) -> bytes:
    """T masks (h, w) of class indices as one indexed PNG: the background transparent, so a second without a mask too.

    Args:
        colours: (K, 3) uint8; an index beyond is transparent.
    """
    empty = np.zeros(size[::-1], np.uint8)
    strip = np.concatenate([empty if mask is None else resize_index(mask, *size) for mask in masks], axis=1)
    strip = np.where(strip < len(colours), strip, 0).astype(np.uint8)
    return _indexed(strip, colours, bytes([0] + [255] * (len(colours) - 1)))


def probability_strip(maps: np.ndarray, size: tuple[int, int]) -> bytes:
    """(T, h, w) uint8 probabilities as one indexed PNG in the colours of heat, the fainter the less probable."""
    levels = (maps // (256 // LEVELS)).astype(np.uint8)
    strip = np.concatenate([resize_index(level, *size) for level in levels], axis=1)
    shares = np.arange(LEVELS) / (LEVELS - 1)
    colours = heat_colours()[np.rint(shares * 255).astype(int)].astype(np.uint8)
    return _indexed(strip, colours, np.rint(255 * np.minimum(1.0, 1.15 * shares)).astype(np.uint8).tobytes())


def sound_file(wave: np.ndarray, rate: int) -> tuple[bytes, str]:
    """A file that Chromium, Firefox and Safari all play, and its ending: MP3, or WAV where that can't be written.

    AAC and Opus are smaller, but Firefox on some systems and older Safaris lack one of them.

    Args: wave: (samples, channels) float32 in [-1, 1].
    """
    wave = np.clip(wave if wave.shape[1] <= 2 else wave.mean(1, keepdims=True), -1, 1)
    buffer = io.BytesIO()
    if rate in MP3_RATES and "MP3" in soundfile.available_formats():
        soundfile.write(buffer, wave, rate, format="MP3")
        return buffer.getvalue(), "mp3"
    soundfile.write(buffer, wave, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue(), "wav"


def _indexed(strip: np.ndarray, colours: np.ndarray, alpha: bytes) -> bytes:
    image = Image.fromarray(strip)
    image.putpalette(np.ascontiguousarray(colours, dtype=np.uint8).tobytes())
    return _encoded(image, "PNG", transparency=alpha, optimize=True)


def _encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
