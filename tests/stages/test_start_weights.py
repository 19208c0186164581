"""Trainings that start from another run."""

from __future__ import annotations

import json
import logging

import torch
from safetensors.torch import load_file

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.configs import resolve_training
from avsctl.stages.train import build_model


def build(root, folder, **given):
    clips, audio = ClipCache(root / "clips.h5"), AudioCache(root / "audio.h5")
    given = {"image_size": 64, "epochs": 1, "seed": 5, **given}
    config = resolve_training("avss", "tiny", "all", given)
    return build_model(config, clips, audio, folder), clips


def rename(run, names):
    record = json.loads((run / "record.json").read_text())
    record["classes"] = names
    (run / "record.json").write_text(json.dumps(record))


def test_a_run_gives_the_rows_of_the_classes_it_knows_by_name(
    two_stage_workspace, workspace_copy, tmp_path, monkeypatch
):
    root = workspace_copy(two_stage_workspace)
    run = root / "runs/avss/aavs-tiny-all-oracle-s3407"
    clips = ClipCache(root / "clips.h5")
    rename(run, ["background", *(f"other {name}" for name in clips.classes[1:-2]), *clips.classes[:-3:-1]])
    said = []
    monkeypatch.setattr(logging.getLogger("avsctl.stages.start_weights"), "info", lambda *v: said.append(v[0] % v[1:]))
    model, _ = build(root, tmp_path, prior="oracle", init_from=str(run))
    theirs = load_file(run / "model.safetensors")["decoder.class_head.weight"]
    ours = model.state_dict()["decoder.class_head.weight"]
    last = len(clips.classes) - 1
    assert torch.equal(ours[last], theirs[last - 1]) and torch.equal(ours[last - 1], theirs[last])
    assert not torch.equal(ours[1], theirs[1])
    start = json.loads((tmp_path / "start.json").read_text())
    assert start["class_rows"]["kept"] == [clips.classes[0], *clips.classes[-2:]]
    assert start["class_rows"]["new"] == clips.classes[1:-2]
    assert "decoder.class_head.weight" in start["taken"] and start["new"] == start["unused"] == []
    assert len(said) == 2 and said[1].startswith("classes: 3 (background, ")


def test_a_stage_one_gives_all_but_the_names(two_stage_workspace, tmp_path):
    run = two_stage_workspace / "runs/avs/aavs-tiny-all-none-s3407"
    model, _ = build(two_stage_workspace, tmp_path, prior="none", init_from=str(run / "model.safetensors"))
    start = json.loads((tmp_path / "start.json").read_text())
    assert start["class_rows"] is None
    assert any(line.startswith("decoder.class_head.weight: found") for line in start["new"])
    stored = load_file(run / "model.safetensors")
    name = next(key for key in start["taken"] if key.startswith("backbone."))
    assert torch.equal(model.state_dict()[name], stored[name])
