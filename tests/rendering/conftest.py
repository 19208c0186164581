from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from made_videos import make_video


@pytest.fixture
def video(tmp_path: Path) -> Callable[..., Path]:
    """Return `make_video` that writes into the test's own folder by file name."""
    return lambda name, *args, **kwargs: make_video(tmp_path / name, *args, **kwargs)
