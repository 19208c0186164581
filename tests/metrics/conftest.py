"""Golden scores: what the published code bases return for small arrays, with those arrays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file

FOLDER = Path(__file__).parents[1] / "data" / "golden" / "metrics"


@pytest.fixture(scope="session")
def golden() -> Callable[[str], tuple[dict, dict]]:
    """Return a loader of `<name>.safetensors` and `<name>.json`."""

    def load(name: str) -> tuple[dict, dict]:
        return load_file(FOLDER / f"{name}.safetensors"), json.loads((FOLDER / f"{name}.json").read_text())

    return load
