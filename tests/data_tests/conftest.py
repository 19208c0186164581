"""Tiny folders in the layouts that `prepare` reads; tests may break their copies."""

from __future__ import annotations

import gzip
import json
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

DATA = Path(__file__).parents[1] / "data"


def write_wav(path: Path, seconds: float = 0.2) -> None:
    """A short tone."""
    samples = (8000 * np.sin(np.arange(int(16000 * seconds)) / 9)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())


@pytest.fixture(scope="session")
def readers() -> dict[str, np.ndarray]:
    """What the released readers return for the tiny folders."""
    with np.load(DATA / "golden/readers/readers.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def semantic_root(tmp_path: Path) -> Path:
    """Five clips in AVSBench-semantic's layout; one label holds a colour outside the palette."""
    root = tmp_path / "semantic"
    shutil.copytree(DATA / "mini_avsbench/semantic", root)
    for frames in root.glob("*/*/frames"):
        write_wav(frames.with_name("audio.wav"))
    return root


@pytest.fixture
def object_root(tmp_path: Path) -> Path:
    """Four clips in AVSBench-object's layout, with log-mel pickles and no wav; one mask is not 0/255."""
    root = tmp_path / "object"
    shutil.copytree(DATA / "mini_avsbench/object", root)
    return root


@pytest.fixture
def folder_root(tmp_path: Path) -> Path:
    """Two clips in the neutral layout, with three classes of one's own."""
    root = tmp_path / "own"
    rng = np.random.default_rng(0)
    for uid, labelled in (("kettle_1", range(3)), ("cat_7", (0, 2))):
        for name in ("frames", "labels"):
            (root / uid / name).mkdir(parents=True)
        for number in range(3):
            Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8)).save(root / uid / f"frames/{number}.jpg")
        for number in labelled:
            Image.fromarray(rng.integers(0, 3, (12, 16), np.uint8)).save(root / uid / f"labels/{number}.png")
        write_wav(root / uid / "audio.wav")
    (root / "classes.json").write_text(json.dumps(["background", "kettle", "cat"]))
    (root / "clips.csv").write_text("uid,split,subset,labelled_frames\nkettle_1,train,home,all\ncat_7,test,home,0 2\n")
    return root


@pytest.fixture(scope="session")
def real_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AVSBench's own csv files in their places, without media."""
    root = tmp_path_factory.mktemp("tables")
    places = {"metadata": "semantic", "s4_meta_data": "object/Single-source", "ms3_meta_data": "object/Multi-sources"}
    for name, place in places.items():
        (root / place).mkdir(parents=True)
        packed = (DATA / f"avsbench_meta/{name}.csv.gz").read_bytes()
        (root / place / f"{name}.csv").write_bytes(gzip.decompress(packed))
    shutil.copy(DATA / "avsbench_meta/label2idx.json", root / "semantic")
    return root
