"""Prior caches: predicted by the right run, imported, exported, and simulated at the accuracy asked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.files import read_json, write_json
from avsctl.caches.priors import PriorCache
from avsctl.data.samples import ClipSamples
from avsctl.errors import AvsctlError
from avsctl.inference import class_maps
from avsctl.metrics.binary import frame_iou
from avsctl.stages import predict_priors as stage
from avsctl.stages.inputs import load_run
from avsctl.stages.mask_files import export_masks, import_masks
from avsctl.stages.predict_priors import predict_priors, route_runs
from avsctl.stages.simulate_priors import find_severity, simulate_priors
from avsctl.workspace import Workspace

SIZE = 64


@pytest.fixture
def workspace(tiny_workspace, workspace_copy) -> Workspace:
    return Workspace(workspace_copy(tiny_workspace))


@pytest.fixture(scope="module")
def predicted(tiny_workspace, tmp_path_factory) -> Path:
    """The tiny workspace's predicted priors. Read only."""
    workspace = Workspace(tiny_workspace)
    out = tmp_path_factory.mktemp("predicted") / "predicted.h5"
    return predict_priors(workspace, route_runs(workspace), out=out, size=SIZE, device="cpu")


def run_for(workspace: Workspace, subset: str, *, complete: bool = True) -> Path:
    """A copy of the workspace's run that says it was trained on one subset."""
    original = workspace.runs("avs")[-1].folder
    folder = original.with_name(f"aavs-tiny-{subset}-none-s1")
    shutil.copytree(original, folder)
    write_json(folder / "config.json", {**read_json(folder / "config.json"), "subset": subset})
    write_json(folder / "record.json", {**read_json(folder / "record.json"), "complete": complete})
    return folder


def independent_accuracy(prior: Path, clips: ClipCache, rule: str = "bilinear") -> dict[str, float]:
    """mIoU of each group, from the stored bytes and the readers' labels."""
    cache, groups = PriorCache(prior), {}
    samples = ClipSamples(
        clips,
        AudioCache(clips.path.with_name("audio.h5")),
        range(len(clips)),
        task="avs",
        image_size=32,
        label_size=SIZE,
        binary_labels=rule,
    )
    for clip in range(len(clips)):
        batch = samples[clip]
        keep = batch.labelled.numpy()
        iou = frame_iou(cache.maps(clips.uids[clip])[keep] > 127, batch.labels.numpy()[keep])
        for subset in (clips.subsets[clip], "all"):
            groups.setdefault(f"{subset}/{clips.splits[clip]}", []).extend(iou)
    return {name: float(np.mean(values)) for name, values in groups.items()}


# Predicted


def test_every_frame_of_every_split_has_the_models_decision(predicted, tiny_workspace):
    workspace = Workspace(tiny_workspace)
    clips, audio, cache = ClipCache(workspace.clips), AudioCache(workspace.audio), PriorCache(predicted)
    model = load_run(workspace.runs("avs")[0], clips, audio)
    samples = ClipSamples(clips, audio, range(len(clips)), task="avs", image_size=model.image_size)
    for clip in (0, 5, len(clips) - 1):
        batch = samples[clip]
        maps = class_maps(model, batch.frames, batch.audio, size=SIZE)
        stored = cache.maps(clips.uids[clip])
        assert np.array_equal(stored >= 128, maps.argmax(1).numpy() == 1)
        probability = (maps[:, 1] / maps.sum(1)).numpy()
        assert stored / 255 == pytest.approx(probability, abs=1 / 255 + 1e-6)
    assert all(len(cache.maps(uid)) == clips.frame_count(clip) for clip, uid in enumerate(clips.uids))


def test_the_recorded_accuracy_is_the_mean_over_labelled_frames(predicted, tiny_workspace):
    expected = independent_accuracy(predicted, ClipCache(tiny_workspace / "clips.h5"))
    assert PriorCache(predicted).accuracy == pytest.approx(expected, abs=1e-9)
    assert len(expected) == 12


def test_each_clip_goes_to_the_run_of_its_subset_else_to_one_trained_on_all(workspace):
    own = run_for(workspace, "s4")
    routes = route_runs(workspace)
    assert routes["s4"].folder == own
    assert routes["ms3"].options["subset"] == routes["v2"].options["subset"] == "all"


def test_clips_of_different_runs_are_predicted_by_their_own(workspace, predicted):
    weights = run_for(workspace, "s4") / "model.safetensors"
    with safe_open(weights, "pt") as file:
        described = file.metadata()
    generator = torch.Generator().manual_seed(0)
    changed = {
        name: tensor + 0.2 * torch.randn(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor
        for name, tensor in load_file(weights).items()
    }
    save_file(changed, weights, described)
    out = predict_priors(workspace, route_runs(workspace), size=SIZE, device="cpu", split="test")
    clips, first, second = ClipCache(workspace.clips), PriorCache(predicted), PriorCache(out)
    for clip in clips.select(split="test"):
        same = np.array_equal(first.maps(clips.uids[clip]), second.maps(clips.uids[clip]))
        assert same == (clips.subsets[clip] != "s4")


def test_a_subset_without_a_run_is_named_with_the_command_that_makes_one(workspace):
    run_for(workspace, "s4")
    shutil.rmtree(next(run.folder for run in workspace.runs("avs") if run.options["subset"] == "all"))
    with pytest.raises(AvsctlError, match="clips of ms3, v2.*train-avs --subset all"):
        route_runs(workspace)
    with pytest.raises(AvsctlError, match="clips of ms3.*train-avs --subset ms3"):
        route_runs(workspace, subset="ms3")
    assert set(route_runs(workspace, subset="s4")) == {"s4"}


def test_an_unfinished_run_is_named_with_the_command_that_continues_it(workspace):
    run_for(workspace, "v2", complete=False)
    shutil.rmtree(next(run.folder for run in workspace.runs("avs") if run.options["subset"] == "all"))
    with pytest.raises(AvsctlError, match="v2-none-s1 is unfinished.*--resume"):
        route_runs(workspace, subset="v2")


def test_a_rerun_does_nothing_and_another_plan_is_refused(workspace, monkeypatch):
    routes = route_runs(workspace, subset="ms3")
    options = {"subset": "ms3", "split": "test", "device": "cpu"}
    out = predict_priors(workspace, routes, size=SIZE, **options)
    before = out.stat().st_mtime_ns
    monkeypatch.setattr(stage, "load_run", None)
    assert predict_priors(workspace, routes, size=SIZE, **options) == out
    assert out.stat().st_mtime_ns == before
    assert predict_priors(workspace, routes, size=SIZE, batch_clips=4, **options) == out  # whole: good as it is
    with pytest.raises(AvsctlError, match=r"another size \(64\).*--overwrite"):
        predict_priors(workspace, routes, size=32, **options)
    with pytest.raises(AvsctlError, match=r"another batch_clips \(1\)"):
        predict_priors(workspace, routes, size=SIZE, batch_clips=4, repair=True, **options)


def test_a_stopped_run_goes_on_where_it_stopped_unless_last_bits_can_differ(workspace, predicted, monkeypatch):
    routes = route_runs(workspace)
    monkeypatch.setattr(stage, "compile_parts", lambda model, wanted: model)
    seen = []

    def stopping(items, description="", total=None):
        for item in items:
            yield item
            seen.append(item)
            if len(seen) == 10:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_priors(workspace, routes, size=SIZE, device="cpu", track=stopping)
    assert not workspace.prior("predicted").exists()
    totals = []

    def counting(items, description="", total=None):
        totals.append(total)
        return iter(items)

    class Started(Exception):
        """That is all one wants to know."""

    def starting(items, description="", total=None):
        totals.append(total)
        raise Started

    for other in ({"batch_clips": 4}, {"compile": True}):
        with pytest.raises(Started):
            predict_priors(workspace, routes, size=SIZE, device="cpu", track=starting, **other)
    out = predict_priors(workspace, routes, size=SIZE, device="cpu", track=counting)
    assert totals[:3] == [18, 18, 18 - 8]  # one shard of eight clips was whole, of the same company
    assert PriorCache(out).fingerprint == PriorCache(predicted).fingerprint
    assert [path.name for path in out.parent.iterdir()] == ["predicted.h5"]


def test_reading_and_packing_ahead_changes_no_byte(tiny_workspace, predicted, tmp_path):
    workspace = Workspace(tiny_workspace)
    out = predict_priors(
        workspace, route_runs(workspace), out=tmp_path / "plain.h5", size=SIZE, device="cpu", prefetch=0
    )
    assert PriorCache(out).fingerprint == PriorCache(predicted).fingerprint


def test_clips_keep_their_company_when_only_some_are_missing(workspace, predicted, monkeypatch):
    run_for(workspace, "s4")
    company = {}

    def watched(model, frames, audio, *, lengths, **named):
        maps = class_maps(model, frames, audio, lengths=lengths, **named)
        for part in frames.split(list(lengths)):
            company.setdefault(part.numpy().tobytes(), set()).add((frames.numpy().tobytes(), tuple(lengths)))
        return maps

    monkeypatch.setattr(stage, "class_maps", watched)
    options = {"size": SIZE, "device": "cpu", "batch_clips": 4}
    out = predict_priors(workspace, route_runs(workspace), **options)
    assert {len(lengths) for [(_, lengths)] in company.values()} == {2, 4}  # 12 clips of one run, 6 of the other
    fingerprint = PriorCache(out).fingerprint
    with h5py.File(out, "r+") as file:
        file["maps"][3] ^= 1
    predict_priors(workspace, route_runs(workspace), repair=True, **options)
    assert all(len(seen) == 1 for seen in company.values())
    repaired, alone = PriorCache(out), PriorCache(predicted)
    assert repaired.fingerprint == fingerprint
    for clip, uid in enumerate(repaired.uids):
        assert repaired.verify(clip)
        # Another sum's last bit can move a number over the border of its byte.
        assert np.abs(repaired.maps(uid).astype(int) - alone.maps(uid)).max() <= 1


# Masks from files


def test_exported_masks_come_back_as_the_same_decisions(predicted, workspace, tmp_path):
    folder = export_masks(predicted, workspace.clips, tmp_path / "png")
    out = import_masks(workspace.clips, folder, tmp_path / "masks.h5", workers=1)
    clips, first, second = ClipCache(workspace.clips), PriorCache(predicted), PriorCache(out)
    for clip in range(len(clips)):
        place = folder / {"s4": "v1s", "ms3": "v1m", "v2": "v2"}[clips.subsets[clip]] / clips.uids[clip]
        assert sorted(path.name for path in place.iterdir()) == [f"{t}.png" for t in range(clips.frame_count(clip))]
        maps = second.maps(clips.uids[clip])
        assert maps.shape[1:] == (224, 224)
        assert set(np.unique(maps)) <= {0, 255}
        enlarged = np.asarray(Image.fromarray(first.maps(clips.uids[clip])[0]).resize((224, 224), 2))
        assert np.array_equal(maps[0] > 0, enlarged >= 128)
    assert second.origin == "masks"


def test_greys_are_probabilities_and_any_size_and_layout_is_read(workspace, tmp_path):
    clips = ClipCache(workspace.clips)
    chosen = clips.select(subset="ms3", split="val")
    for number, clip in enumerate(chosen):
        folder = tmp_path / "in" / ("ms3" if number else "") / clips.uids[clip]
        folder.mkdir(parents=True)
        for t in range(5):
            Image.fromarray(np.full((30, 50), 40 * t + 20, np.uint8)).save(folder / f"{t}.png")
        Image.fromarray(np.full((9, 9), 65535, np.uint16)).save(folder / "4.png")
    out = import_masks(
        workspace.clips, tmp_path / "in", tmp_path / "m.h5", subset="ms3", split="val", size=SIZE, workers=1
    )
    for clip in chosen:
        maps = PriorCache(out).maps(clips.uids[clip])
        assert [np.unique(one).tolist() for one in maps] == [[20], [60], [100], [140], [255]]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "3.png").unlink(), "3.png is missing"),
        (lambda folder: shutil.copy(folder / "3.png", folder / "5.png"), "holds 6 masks.*has 5 frames"),
        (lambda folder: (folder / "2.png").write_bytes(b"no picture"), "2.png is no known picture"),
        (lambda folder: shutil.rmtree(folder), "is missing: clip .* has no masks"),
    ],
    ids=["missing", "extra", "broken", "no folder"],
)
def test_unfit_masks_are_named(predicted, workspace, tmp_path, spoil, words):
    folder = export_masks(predicted, workspace.clips, tmp_path / "png")
    clips = ClipCache(workspace.clips)
    spoil(folder / "v1m" / clips.uids[clips.select(subset="ms3")[0]])
    with pytest.raises(AvsctlError, match=words):
        import_masks(workspace.clips, folder, tmp_path / "masks.h5", workers=1)
    assert not (tmp_path / "masks.h5").exists()


def test_export_leaves_a_filled_folder_alone(predicted, workspace, tmp_path):
    (tmp_path / "png").mkdir()
    (tmp_path / "png" / "mine.txt").write_text("mine")
    with pytest.raises(AvsctlError, match="holds something"):
        export_masks(predicted, workspace.clips, tmp_path / "png")
    assert [path.name for path in (tmp_path / "png").iterdir()] == ["mine.txt"]


# Simulated


@pytest.mark.parametrize("miou", [0.1, 0.55, 0.75, 0.95])
def test_simulated_priors_meet_the_accuracy_on_every_subset_and_split(tiny_workspace, tmp_path, miou):
    clips = ClipCache(tiny_workspace / "clips.h5")
    out = simulate_priors(clips.path, tmp_path / "p.h5", miou, origin="low", size=SIZE, workers=1)
    measured = independent_accuracy(out, clips)
    for name, value in measured.items():
        assert value == pytest.approx(miou, abs=0.01), name  # even S4's training group of two frames
    assert PriorCache(out).accuracy == pytest.approx(measured, abs=1e-9)


def test_simulated_content_does_not_depend_on_what_else_is_made(tiny_workspace, tmp_path):
    path = tiny_workspace / "clips.h5"
    whole = PriorCache(simulate_priors(path, tmp_path / "a.h5", 0.6, origin="x", size=SIZE, workers=1))
    part = PriorCache(simulate_priors(path, tmp_path / "b.h5", 0.6, origin="x", size=SIZE, subset="ms3", workers=2))
    other = PriorCache(
        simulate_priors(path, tmp_path / "c.h5", 0.6, origin="x", size=SIZE, subset="ms3", seed=1, workers=1)
    )
    clips = ClipCache(path)
    for clip in clips.select(subset="ms3"):
        uid = clips.uids[clip]
        assert np.array_equal(whole.maps(uid), part.maps(uid))
        assert not np.array_equal(whole.maps(uid), other.maps(uid))


def test_frames_without_a_label_get_an_empty_prior(tiny_workspace, tmp_path):
    clips = ClipCache(tiny_workspace / "clips.h5")
    options = {"subset": "s4", "split": "train", "size": SIZE, "workers": 1}
    cache = PriorCache(simulate_priors(clips.path, tmp_path / "p.h5", 0.7, origin="x", **options))
    maps = np.stack([cache.maps(clips.uids[clip]) for clip in clips.select(subset="s4", split="train")])
    assert maps[:, 0].any()
    assert not maps[:, 1:].any()


@pytest.mark.parametrize("miou", [0.0, 1.0, float("nan")])
def test_impossible_accuracies_are_refused(tiny_workspace, tmp_path, miou):
    with pytest.raises(AvsctlError, match="between 0 and 1"):
        simulate_priors(tiny_workspace / "clips.h5", tmp_path / "p.h5", miou, origin="x")


def test_the_search_survives_a_curve_that_misleads():
    def score(severity: float) -> float:
        return float((1 - severity) ** 3)

    found = find_severity(score, 0.4, np.linspace(1, 0, 26) ** 0.1)
    assert score(found) == pytest.approx(0.4, abs=0.001)
