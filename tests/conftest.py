"""A tiny workspace in which every step up to stage 1 has run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

COUNTS = {(subset, split): 2 for subset in ("v1s", "v1m", "v2") for split in ("train", "val", "test")}


def train_tiny(root: Path, task: str, **given) -> Path:
    """One step of training on a workspace's clips; gives the run's folder."""
    from avsctl.configs import resolve_training
    from avsctl.stages.train import train
    from avsctl.workspace import Workspace

    subset = given.pop("subset", "all")
    given = {"image_size": 64, "epochs": 1, "max_steps": 1, "batch_clips": 2, **given}
    return train(Workspace(root), resolve_training(task, "tiny", subset, given), device="cpu")


@pytest.fixture(scope="session")
def tiny_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two synthetic clips of each subset and split at 64 pixels, their sound, and one stage-1 run. Read only."""
    from avsctl.data.layouts import open_dataset
    from avsctl.data.synthetic.generate import generate
    from avsctl.stages.extract_audio import extract_audio
    from avsctl.stages.prepare import prepare

    root = tmp_path_factory.mktemp("tiny")
    dataset = generate(root / "AVSBench-synthetic", clips=COUNTS, size=64)
    prepare(open_dataset(dataset), root / "clips.h5", workers=1)
    extract_audio(root / "clips.h5", root / "audio.h5", workers=1)
    train_tiny(root, "avs")
    return root


@pytest.fixture
def workspace_copy(tmp_path: Path) -> Callable[[Path], Path]:
    """Copy a workspace's caches and runs into the test's own folder, where it may be changed."""

    def copy(root: Path) -> Path:
        target = tmp_path / "workspace"
        return Path(shutil.copytree(root, target, ignore=shutil.ignore_patterns("AVSBench-synthetic")))

    return copy
