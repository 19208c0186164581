"""A tiny workspace in which every step up to stage 1 has run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

COUNTS = {(subset, split): 2 for subset in ("v1s", "v1m", "v2") for split in ("train", "val", "test")}


@pytest.fixture(scope="session")
def train_tiny() -> Callable[..., Path]:
    """One step of training on a workspace's clips: `train_tiny(root, task, **options)` gives the run's folder."""
    return _train_tiny


def _train_tiny(root: Path, task: str, **given) -> Path:
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
    _train_tiny(root, "avs")
    return root


@pytest.fixture
def workspace_copy(tmp_path: Path) -> Callable[[Path], Path]:
    """Copy a workspace's caches and runs into the test's own folder, where it may be changed."""

    def copy(root: Path) -> Path:
        target = tmp_path / "workspace"
        return Path(shutil.copytree(root, target, ignore=shutil.ignore_patterns("AVSBench-synthetic")))

    return copy


@pytest.fixture(scope="session")
def two_stage_workspace(tiny_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny workspace with a two-stage run, a single-stage run and a predicted prior. Read only."""
    import numpy as np

    from avsctl.caches.clips import ClipCache
    from avsctl.caches.priors import assemble_priors

    root = tmp_path_factory.mktemp("two_stage") / "workspace"
    shutil.copytree(tiny_workspace, root, ignore=shutil.ignore_patterns("AVSBench-synthetic", "reports"))
    for prior in ("none", "oracle"):
        _train_tiny(root, "avss", prior=prior)
    clips = ClipCache(root / "clips.h5")
    left_half = np.zeros((224, 224), np.uint8)
    left_half[:, :112] = 200
    assemble_priors(
        root / "priors" / "predicted.h5",
        lambda: ({"maps": np.repeat(left_half[None], clips.frame_count(i), 0)} for i in range(len(clips))),
        uids=clips.uids,
        origin="predicted",
        accuracy={"s4/test": 0.25, "ms3/test": None},
        inputs={"clips": clips.fingerprint},
        options={},
    )
    return root


@pytest.fixture(scope="session")
def scored_workspace(two_stage_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two-stage workspace with the reports of its test split. Read only."""
    from avsctl.stages.evaluate import EvaluateConfig, evaluate
    from avsctl.workspace import Workspace

    root = tmp_path_factory.mktemp("scored") / "workspace"
    shutil.copytree(two_stage_workspace, root)
    evaluate(Workspace(root), EvaluateConfig(task="avs", device="cpu"))
    evaluate(Workspace(root), EvaluateConfig(prior="all", device="cpu"))
    return root
