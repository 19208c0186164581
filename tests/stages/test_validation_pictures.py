"""TensorBoard shows the same validation clips after every epoch: frame, label, prediction and prior."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from avsctl.caches.clips import ClipCache
from avsctl.configs import resolve_training
from avsctl.rendering.columns import Columns
from avsctl.stages.train import train
from avsctl.workspace import Workspace


@pytest.fixture
def workspace(tiny_workspace, tmp_path) -> Workspace:
    for name in ("clips.h5", "audio.h5"):
        (tmp_path / name).symlink_to(tiny_workspace / name)
    return Workspace(tmp_path)


def events_of(workspace: Workspace, task: str, **given):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    options = {"image_size": 64, "epochs": 2, "max_steps": 1, "batch_clips": 2, **given}
    config = resolve_training(task, "tiny", "all", options)
    folder = train(workspace, config, device="cpu", logs=("tensorboard",))
    events = event_accumulator.EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    return events, folder


@pytest.mark.parametrize(
    ("task", "given", "titles"),
    [
        ("avs", {"cache_features": "all", "freeze_backbone": True, "augment": False}, ["frame", "label", "prediction"]),
        ("avss", {"prior": "oracle"}, ["frame", "label", "prediction", "prior"]),
    ],
)
def test_the_same_clips_are_shown_after_every_epoch(workspace, task, given, titles):
    events, folder = events_of(workspace, task, **given)
    tags = events.Tags()["images"]
    clips = ClipCache(workspace.clips)
    validation = [clips.uids[clip] for clip in clips.select(split="val")]
    assert len(tags) == 4 and {tag.removeprefix("validation/") for tag in tags} <= set(validation)
    columns = Columns(titles, (1, 1))
    for tag in tags:
        assert [event.step for event in events.Images(tag)] == [1, 2]
        first, second = (_picture(event.encoded_image_string) for event in events.Images(tag))
        assert first.shape == second.shape == (*columns.size[::-1], 3)
        cells = [_cell(first, columns, number) for number in range(len(titles))]
        assert np.array_equal(cells[0], _cell(second, columns, 0))  # the frame, whatever was learnt
        assert np.array_equal(cells[1], _cell(second, columns, 1))
        assert not np.array_equal(cells[0], cells[1])  # the label lies over it
    assert (folder / "log.jsonl").read_text().count('"kind": "epoch"') == 2


def test_pictures_change_nothing_that_is_learnt(workspace):
    folder = events_of(workspace, "avs")[1]
    logged = (folder / "model.safetensors").read_bytes()
    config = resolve_training("avs", "tiny", "all", {"image_size": 64, "epochs": 2, "max_steps": 1, "batch_clips": 2})
    train(workspace, config, device="cpu", overwrite=True)
    assert (folder / "model.safetensors").read_bytes() == logged
    assert not (folder / "tensorboard").exists()


def _picture(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def _cell(page: np.ndarray, columns: Columns, number: int) -> np.ndarray:
    x, y = columns._place(number)
    return page[y : y + columns.cell[1], x : x + columns.cell[0]]
