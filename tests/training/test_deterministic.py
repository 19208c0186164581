"""Deterministic mode gives the same bytes each time, is recorded, and ends with its block."""

from __future__ import annotations

import os

import pytest
import torch

from avsctl.caches.files import read_json
from avsctl.configs import resolve_training
from avsctl.errors import AvsctlError
from avsctl.stages.train import train
from avsctl.training.deterministic import deterministic
from avsctl.workspace import Workspace

WRITTEN = ("last.safetensors", "model.safetensors", "record.json", "log.jsonl", "config.json")


def config(**given):
    options = {"image_size": 64, "epochs": 1, "max_steps": 2, "batch_clips": 2, "augment": True, **given}
    return resolve_training("avs", "tiny", "all", options)


def bytes_of(workspace: Workspace, **settings) -> dict[str, bytes]:
    folder = train(workspace, config(deterministic=True), device="cpu", overwrite=True, **settings)
    return {name: (folder / name).read_bytes() for name in WRITTEN}


@pytest.fixture
def workspace(tiny_workspace, tmp_path) -> Workspace:
    for name in ("clips.h5", "audio.h5"):
        (tmp_path / name).symlink_to(tiny_workspace / name)
    return Workspace(tmp_path)


def test_two_runs_write_the_same_bytes_however_clips_are_read(workspace):
    first = bytes_of(workspace, prefetch=0)
    torch.manual_seed(99)
    assert bytes_of(workspace, workers=1) == first
    assert bytes_of(workspace, prefetch=3) == first


def test_a_run_records_it_and_goes_on_with_nothing_else(workspace):
    folder = train(workspace, config(deterministic=True), device="cpu")
    assert read_json(folder / "config.json")["deterministic"] is True
    with pytest.raises(AvsctlError, match=r"other options \(deterministic\)"):
        train(workspace, config(), device="cpu")


def test_what_has_no_deterministic_form_is_refused_inside_the_block_alone():
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic():
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()
