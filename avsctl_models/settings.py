"""A model's sizes out of a file, checked before anything of that size is made."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

MAX_NUMBER = 65_536
"""No width, number of classes or side of a picture is larger."""
MAX_LAYERS = 128
MAX_SIDE = 4096
"""Of the pictures a model sees."""
MAX_ENTRIES = 64
BACKBONE_OPTIONS = (
    *("embed_dim", "depths", "num_heads", "window_size", "mlp_ratio", "qkv_bias"),  # Swin
    *("embed_dims", "mlp_ratios", "sr_ratios"),  # PVT-v2
)
"""What may be said of a backbone's build; timm takes much more, files to load among it."""


def check_settings(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse settings of another kind than their defaults, or beyond all reason.

    Raises: ValueError: Naming the first.
    """
    for name, value in given.items():
        default = defaults.get(name)
        if default is not None and value is not None and not _same_kind(default, value):
            raise ValueError(f"{name} is {_shown(value)}, which is no {type(default).__name__}")
        if name == "image_size" and isinstance(value, int) and not 1 <= value <= MAX_SIDE:
            raise ValueError(f"image_size is {_shown(value)}; it must be from 1 to {MAX_SIDE:,}")
        _check_size(name, value, MAX_LAYERS if "layers" in name else MAX_NUMBER)
    options = given.get("backbone_options") or {}
    foreign = sorted(set(options) - set(BACKBONE_OPTIONS))
    if foreign:
        raise ValueError(f"backbone_options has {foreign[0]!r}; it may have {', '.join(BACKBONE_OPTIONS)}")


@contextmanager
def build_errors(source: str) -> Iterator[None]:
    """Say in one way why no model can be built in given sizes, whichever network notices.

    Raises: ValueError: If the block fails on its numbers.
    """
    try:
        yield
    except (
        AssertionError, ArithmeticError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError,
    ) as error:  # fmt: skip
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ValueError(f"no model can be built from {source}: {reason}") from error


def _same_kind(default: Any, value: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    return isinstance(value, (list, tuple) if isinstance(default, (list, tuple)) else type(default))


def _check_size(name: str, value: Any, limit: int) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_size(f"{name}.{key}", inner, MAX_LAYERS if key in ("depths", "window_size") else limit)
    elif isinstance(value, (list, tuple)):
        if len(value) > MAX_ENTRIES:
            raise ValueError(f"{name} has {len(value)} entries, more than {MAX_ENTRIES}")
        for inner in value:
            _check_size(name, inner, limit)
    elif isinstance(value, (int, float)) and not (math.isfinite(value) and 0 <= value <= limit):
        raise ValueError(f"{name} is {_shown(value)}; it must be from 0 to {limit:,}")


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**30 else "a number of many digits"
    return text if len(text) <= 60 else f"{text[:60]}…"
