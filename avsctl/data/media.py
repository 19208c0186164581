"""Files of a dataset, read once and fully, so that a broken one is found before it is stored."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from avsctl.caches.files import read_regular
from avsctl.data.palette import colours_to_index
from avsctl.errors import AvsctlError
from avsctl.limits import MAX_FILE, MAX_SAMPLES
from avsctl.pictures import FORMATS, open_picture

_COLOUR_MODES = ("RGB", "RGBA", "P", "PA", "L", "LA", "1")


class BrokenClip(AvsctlError):
    """A file that a clip needs is missing, short or broken.

    Args:
        path: the file or folder.
        reason: what is wrong, to be read after the path: "is missing".
        kind: a few words that many clips may share, for summaries.
    """

    def __init__(self, path: Path | str, reason: str, kind: str):
        super().__init__(str(path), reason, kind)
        self.path = str(path)
        self.reason = reason
        self.kind = kind

    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


def require_folder(path: Path) -> None:
    """Raise BrokenClip unless `path` is a folder."""
    if not path.is_dir():
        raise BrokenClip(path, "is missing" if not path.exists() else "is not a folder", "missing folder")


def read_file(path: Path, kind: str) -> bytes:
    """The bytes of a file that holds something.

    Raises: BrokenClip: If it is missing, unreadable or empty; `kind` names what it is (frame, label, sound).
    """
    try:
        data = read_regular(path, MAX_FILE)
    except (FileNotFoundError, NotADirectoryError):
        raise BrokenClip(path, "is missing", f"missing {kind}") from None
    except OSError as error:
        raise BrokenClip(path, f"can't be read ({error.strerror})", f"unreadable {kind}") from None
    if not data:
        raise BrokenClip(path, "is empty", f"broken {kind}")
    return data


def read_frame(path: Path) -> tuple[bytes, tuple[int, int]]:
    """A JPEG or PNG file's bytes and its (width, height), after decoding it once.

    Raises: BrokenClip: If it is missing, no JPEG or PNG, broken or cut off.
    """
    data = read_file(path, "frame")
    return data, _decode(path, data, "frame", formats=("JPEG", "PNG")).size


def read_colour_label(path: Path, size: tuple[int, int], classes: int) -> tuple[np.ndarray, int]:
    """Class indices of a label picture in palette colours; a colour outside the palette becomes class 0.

    Args:
        size: (width, height) of the frame it belongs to.
    Returns: (H, W) uint8, and how many pixels had a colour outside the palette.
    Raises: BrokenClip: If it is missing or broken, holds no 8-bit colours, or has another size than its frame.
    """
    picture = _label_picture(path, size, _COLOUR_MODES)
    return colours_to_index(np.asarray(picture.convert("RGB")), classes)


def read_index_label(path: Path, size: tuple[int, int], classes: int) -> np.ndarray:
    """Class indices of an index picture (grey, palette or 16-bit), (H, W) uint8.

    Raises: BrokenClip: As `read_colour_label`, and if an index is not below `classes`.
    """
    picture = _label_picture(path, size, ("P", "L", "1", "I", "I;16"))
    index = np.asarray(picture.convert("L") if picture.mode == "1" else picture)
    if picture.mode == "1":
        index = index != 0
    if index.max() >= classes or index.min() < 0:
        wrong = int(index.max() if index.max() >= classes else index.min())
        raise BrokenClip(path, f"holds class index {wrong}, but the indices are 0 to {classes - 1}", "label index")
    return index.astype(np.uint8)


def read_mask(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, bool]:
    """A binary mask as AVSBench-object stores it: 1 where the picture is white, 0 where it is black.

    The released readers want single-channel 0/255. Black and white in other modes mean the same here (their
    `convert("P")` makes other numbers of RGB white). Greys count as white from 128, where `convert("1")` would
    dither; a mask with greys but no white is refused, for no reader agrees on what it means.

    Returns: (H, W) uint8 in {0, 1}, and whether it held greys.
    Raises: BrokenClip: If it is missing or broken, has another size than its frame, or has greys but no white.
    """
    picture = _label_picture(path, size, _COLOUR_MODES)
    grey = np.asarray(picture) if picture.mode in ("L", "P") else None
    if grey is None or (picture.mode == "P" and not np.isin(grey, (0, 255)).all()):
        grey = np.asarray(picture.convert("RGB").convert("L"))
    values = np.unique(grey)
    has_greys = not np.isin(values, (0, 255)).all()
    if has_greys and values[-1] < 255:
        raise BrokenClip(
            path, f"holds values up to {values[-1]}; a mask has 0 (silent) and 255 (sounding)", "label is no mask"
        )
    return (grey >= 128).astype(np.uint8), has_greys


def read_sound(path: Path) -> bytes:
    """A wav file's bytes, after decoding it once.

    Raises: BrokenClip: If it is missing, unreadable, without samples, too long, or holds NaN.
    """
    data = read_file(path, "sound")
    try:
        decode_sound(data)
    except ValueError as error:
        raise BrokenClip(path, str(error), "broken sound") from None
    return data


def decode_sound(data: bytes) -> tuple[np.ndarray, int]:
    """A wav file's samples, (n, channels) float32, and its rate in Hz.

    Raises: ValueError: If it is unreadable, without samples, longer than `MAX_SAMPLES`, or holds NaN.
    """
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate, values = file.samplerate, file.frames * file.channels
            samples = file.read(dtype="float32", always_2d=True) if values <= MAX_SAMPLES else None
    except Exception as error:  # libsndfile raises many kinds on damaged headers
        raise ValueError(f"is no readable wav file ({error})") from None
    if samples is None:
        raise ValueError(f"has {values:,} samples, and {MAX_SAMPLES:,} are the limit")
    if not len(samples):
        raise ValueError("has no samples")
    if not np.isfinite(samples).all():
        raise ValueError("holds samples that are not numbers (NaN or infinite)")
    return samples, rate


def index_png(index: np.ndarray) -> bytes:
    """(H, W) uint8 class indices as an 8-bit grey PNG."""
    buffer = io.BytesIO()
    Image.fromarray(index).save(buffer, "PNG")
    return buffer.getvalue()


def _label_picture(path: Path, size: tuple[int, int], modes: tuple[str, ...]) -> Image.Image:
    picture = _decode(path, read_file(path, "label"), "label")
    if picture.mode not in modes:
        values = np.asarray(picture)
        number = values.dtype.kind == "f" and not np.isfinite(values).all()
        what = "holds NaN" if number else f"has pixels of kind {picture.mode}"
        raise BrokenClip(path, f"{what}; a label here is one of {', '.join(modes)}", "label of a wrong kind")
    if picture.size != size:
        raise BrokenClip(
            path,
            f"is {picture.size[0]}x{picture.size[1]} pixels, but its frame is {size[0]}x{size[1]}",
            "label of another size",
        )
    return picture


def _decode(path: Path, data: bytes, kind: str, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    try:
        return open_picture(data, formats=formats)
    except ValueError as error:
        raise BrokenClip(path, str(error), f"broken {kind}") from None
