"""A checkpoint's file serves wherever a run does, also one that another program wrote."""

from __future__ import annotations

import shutil

import pytest

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.priors import PriorCache
from avsctl.errors import AvsctlError
from avsctl.stages.evaluate import evaluate
from avsctl.stages.evaluation_plan import EvaluateConfig
from avsctl.stages.inputs import load_run
from avsctl.stages.predict_priors import predict_priors, route_runs
from avsctl.workspace import Workspace


@pytest.fixture
def bare(tiny_workspace, tmp_path):
    """The tiny workspace's stage-1 model, away from its run."""
    trained = tiny_workspace / "runs/avs/aavs-tiny-all-none-s3407/model.safetensors"
    return shutil.copy(trained, tmp_path / "mine.safetensors")


def test_it_is_scored_as_its_run_is(tiny_workspace, bare, tmp_path):
    workspace = Workspace(tiny_workspace)
    scores = []
    for run in (None, str(bare)):
        config = EvaluateConfig(task="avs", run=run, device="cpu", out=tmp_path / str(run is None))
        scores.append(evaluate(workspace, config)[0].content["scores"])
    assert scores[0] == scores[1]


def test_it_predicts_priors(tiny_workspace, bare, tmp_path):
    workspace = Workspace(tiny_workspace)
    routes = route_runs(workspace, run=str(bare), subset="s4", split="test")
    path = predict_priors(workspace, routes, out=tmp_path / "p.h5", subset="s4", split="test", device="cpu")
    clips = ClipCache(workspace.clips)
    uid = clips.uids[clips.select(split="test", subset="s4")[0]]
    assert PriorCache(path).maps(uid).shape == (5, 224, 224)


def test_a_file_of_the_other_task_is_refused(tiny_workspace, bare):
    workspace = Workspace(tiny_workspace)
    clips, audio = ClipCache(workspace.clips), AudioCache(workspace.audio)
    with pytest.raises(AvsctlError, match="is a model of task avs, not avss"):
        load_run(workspace.find_run("avss", str(bare)), clips, audio)
    with pytest.raises(AvsctlError, match="Add --task avs or --task avss"):
        evaluate(workspace, EvaluateConfig(run=str(bare), device="cpu"))
