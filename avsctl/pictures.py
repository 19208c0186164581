"""The one door through which pictures come in: of a known format, within the limit of pixels, whole."""

from __future__ import annotations

import io
import warnings

from PIL import Image

from avsctl.limits import max_pixels

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""All that are opened. Others that Pillow knows run programs (EPS) or decode what no dataset uses."""


def open_picture(source: bytes, *, formats: tuple[str, ...] = FORMATS, limit: int | None = None) -> Image.Image:
    """Decode a picture, after its size was checked.

    Args:
        source: the bytes of a file.
        formats: of `FORMATS`; the content tells, whatever the file is called.
        limit: number of pixels; None is `max_pixels()`.
    Raises: ValueError: If it has too many pixels, or is broken, cut off, or of another format.
    """
    picture = _open(source, formats, limit)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on odd tags, which change no pixel
            picture.load()
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, zlib.error and more
        raise ValueError(f"is broken or cut off ({error})") from None
    return picture


def _open(source: bytes, formats: tuple[str, ...], limit: int | None) -> Image.Image:
    limit = max_pixels() if limit is None else limit
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Pillow's own check counts likewise; it only warns up to twice its limit, so the size is checked below too.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            Image.MAX_IMAGE_PIXELS = limit
            picture = Image.open(io.BytesIO(source), formats=formats)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ValueError(f"has more than {limit:,} pixels, the limit (--max-pixels)") from None
    except Image.UnidentifiedImageError:
        raise ValueError(f"is no {' or '.join(formats) if len(formats) < 3 else 'known'} picture") from None
    except Exception as error:  # as above
        raise ValueError(f"is broken or cut off ({error})") from None
    if picture.width * picture.height > limit:
        raise ValueError(f"is {picture.width}x{picture.height} pixels, and {limit:,} are the limit (--max-pixels)")
    return picture
