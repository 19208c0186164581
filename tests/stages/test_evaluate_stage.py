"""Evaluation: which runs it takes, what it scores, and that nothing depends on batches."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.files import read_json, write_json
from avsctl.data.changed_audio import SoundChange
from avsctl.data.labels import binary_label, read_label, semantic_label
from avsctl.errors import AvsctlError
from avsctl.metrics import MEANINGS
from avsctl.stages import evaluate as stage
from avsctl.stages.evaluate import EvaluateConfig, compare_priors, evaluate
from avsctl.stages.evaluation_report import read_clip_sums
from avsctl.stages.sound_changes import change_sound
from avsctl.workspace import Workspace


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def score(two_stage_workspace, tmp_path):
    """Evaluate the read-only workspace, with reports in the test's own folder."""

    def run(*, batch_clips=1, prefetch=2, **options):
        config = EvaluateConfig(device="cpu", out=tmp_path / "out", **options)
        return evaluate(Workspace(two_stage_workspace), config, batch_clips=batch_clips, prefetch=prefetch)

    return run


def _made_up_maps(model, frames, audio, prior=None, *, lengths=None, size=224, precision="fp32"):
    """Maps that follow from what the model is given, so that scores are neither 0 nor 1."""
    classes = model.num_classes
    grid = torch.arange(224).float()
    shape = (torch.sin(grid / 40)[:, None] * torch.cos(grid / 40)[None]).expand(len(frames), 1, 224, 224)
    loud = audio.float().mean(1)[:, None, None, None] * 0.01 + frames.float().mean((1, 2, 3))[:, None, None, None] / 255
    maps = 0.3 * torch.rand(1, classes, 1, 1, generator=torch.Generator().manual_seed(0)) + 0 * shape
    maps = maps.expand(len(frames), classes, 224, 224).clone()
    maps[:, :1] += 0.4 - 0.5 * shape * loud
    if prior is not None:
        maps[:, 1:] += 0.2 * prior[:, None]
    return maps


def _show_made_up_maps(monkeypatch):
    monkeypatch.setattr(stage, "class_maps", _made_up_maps)
    monkeypatch.setattr(stage, "decided_classes", lambda *given, **named: _made_up_maps(*given, **named).argmax(1))


def _truth(clips, clip, binary):
    labels = [read_label(data) for data in clips.label_bytes(clip)]
    if binary:
        return np.stack([binary_label(label, 224, palette=clips.palette) for label in labels])
    return np.stack([semantic_label(label, 224) for label in labels])


def test_reading_and_scoring_ahead_changes_no_bit(score):
    for options in ({"task": "avs"}, {"task": "avss", "prior": "predicted", "subset": "ms3"}):
        [plain], [ahead] = (score(prefetch=depth, **options) for depth in (0, 3))
        assert json.dumps(plain.content) == json.dumps(ahead.content)


@pytest.mark.parametrize("options", [{"task": "avs"}, {"prior": "all"}], ids=["avs", "avss"])
def test_clips_seen_together_have_their_own_scores(score, monkeypatch, options):
    _show_made_up_maps(monkeypatch)  # they depend on a frame's own picture, sound and prior
    alone, together = (score(batch_clips=count, **options) for count in (1, 4))
    assert [json.dumps(report.content) for report in alone] == [json.dumps(report.content) for report in together]


@pytest.mark.parametrize("count, frames", [(1, [5, 5, 5, 5, 10, 10]), (4, [20, 20])])
def test_the_network_sees_as_many_clips_together_as_asked(score, monkeypatch, count, frames):
    seen = []

    def watched(model, frames, audio, *rest, lengths, **named):
        assert sum(lengths) == len(frames)
        seen.append(len(frames))
        return _made_up_maps(model, frames, audio, *rest, **named)

    monkeypatch.setattr(stage, "class_maps", watched)
    score(task="avs", batch_clips=count)
    assert sorted(seen) == frames


def test_stage_1_is_scored_as_its_validation_was(score, two_stage_workspace):
    [report] = score(task="avs", split="val")
    [run] = Workspace(two_stage_workspace).runs("avs")
    # Validation computes four clips together, which moves the last bits of the maps.
    assert report.content["scores"]["all"]["miou"] == pytest.approx(run.record["best"]["miou"], abs=1e-3)


def test_semantic_scores_are_those_of_the_plain_formula(score, two_stage_workspace, monkeypatch):
    _show_made_up_maps(monkeypatch)
    [report] = score(task="avss", prior="oracle")
    clips, audio = ClipCache(two_stage_workspace / "clips.h5"), AudioCache(two_stage_workspace / "audio.h5")
    samples = stage.ClipSamples(clips, audio, clips.select(split="test"), task="avss", image_size=64)
    sums, frames = np.zeros(71), np.zeros(71)
    model = type("Model", (), {"num_classes": 71})
    for number in range(len(samples)):
        clip = samples[number]
        truth = _truth(clips, clips.position[clip.uids[0]], binary=False)
        prior = torch.from_numpy((truth != 0).astype(np.float32))
        decided = _made_up_maps(model, clip.frames, clip.audio, prior).argmax(1).numpy()
        for one, label in zip(decided, truth, strict=True):
            for index in np.union1d(one, label):
                sums[index] += np.sum((one == index) & (label == index)) / np.sum((one == index) | (label == index))
                frames[index] += 1
    iou = np.divide(sums, frames, out=np.zeros(71), where=frames > 0)
    scores = report.content["scores"]["all"]
    assert scores["miou"] == pytest.approx(iou.mean(), abs=1e-9)
    assert scores["miou_foreground"] == pytest.approx(iou[1:].mean(), abs=1e-9)
    assert [row["iou"] for row in report.content["per_class"]["all"]] == pytest.approx(iou.tolist(), abs=1e-9)
    assert 0.2 < scores["avs_miou"] < 1


def test_binary_scores_use_the_decision_and_the_probability(score, two_stage_workspace, monkeypatch):
    _show_made_up_maps(monkeypatch)
    [report] = score(task="avs", subset="s4")
    clips, audio = ClipCache(two_stage_workspace / "clips.h5"), AudioCache(two_stage_workspace / "audio.h5")
    samples = stage.ClipSamples(clips, audio, clips.select(split="test", subset="s4"), task="avs", image_size=64)
    model, ious, best = type("Model", (), {"num_classes": 2}), [], []
    for number in range(len(samples)):
        clip = samples[number]
        maps = _made_up_maps(model, clip.frames, clip.audio).numpy()
        truth = _truth(clips, clips.position[clip.uids[0]], binary=True).astype(bool)
        decided, share = maps[:, 1] > maps[:, 0], maps[:, 1] / maps.sum(1)
        ious.append(np.mean([(d & t).sum() / (d | t).sum() for d, t in zip(decided, truth, strict=True)]))
        curves = []
        for threshold in np.linspace(0, 1 - 1e-10, 255):
            hits = (share >= threshold) & truth
            precision = hits.sum((1, 2)) / ((share >= threshold).sum((1, 2)) + 1e-20)
            recall = hits.sum((1, 2)) / truth.sum((1, 2))
            curves.append(np.mean(1.3 * precision * recall / (0.3 * precision + recall + 1e-20)))
        best.append(max(curves))
    scores = report.content["scores"]["all"]
    assert scores["miou"] == pytest.approx(np.mean(ious), abs=1e-6)
    assert scores["f_score"] == pytest.approx(np.mean(best), abs=1e-4)  # thresholds in float64 here
    assert scores["f_score_stepping_stones"] != scores["f_score"]


def test_every_score_has_a_meaning(score):
    for task, kind in (("avs", "binary"), ("avss", "semantic")):
        [report] = score(task=task, subset="s4")
        for scores in (report.content["scores"]["all"], *report.content["scores"]["subsets"].values()):
            assert set(scores) == set(MEANINGS[kind])


def test_without_a_task_both_are_scored_with_the_predicted_prior(score):
    avs, avss = score(subset="s4")
    assert [avs.content["task"], avss.content["task"]] == ["avs", "avss"]
    assert avs.content["prior"] is None
    assert avss.content["runs"][0]["name"] == "aavs-tiny-all-oracle-s3407"
    assert avss.content["prior"]["name"] == "predicted"
    assert avss.content["prior"]["form"] == "hard"


def test_all_priors_are_compared_with_the_oracle_and_the_single_stage(score, monkeypatch):
    _show_made_up_maps(monkeypatch)
    rows = compare_priors(score(prior="all", subset="ms3"))
    assert [row["prior"] for row in rows] == ["oracle", "predicted", "empty", None]
    assert rows[-1]["run"] == "aavs-tiny-all-none-s3407"
    by_prior = {row["prior"]: row for row in rows}
    assert by_prior["oracle"]["gap_to_oracle"] == 0
    assert by_prior["oracle"]["prior_miou"] == pytest.approx(1)
    assert by_prior[None]["prior_miou"] is None
    for row in rows:
        assert row["gap_to_oracle"] == by_prior["oracle"]["miou"] - row["miou"]
    assert len({row["avs_miou"] for row in rows}) > 2


def test_what_is_missing_of_all_priors_is_named_with_its_command(score, caplog, monkeypatch):
    _show_made_up_maps(monkeypatch)
    with caplog.at_level("WARNING", logger="avsctl"):
        score(prior="all", subset="s4")
    for level in ("low", "high"):
        assert f"avsctl predict-priors --level {level}" in caplog.text


def test_a_priors_own_accuracy_is_measured_on_the_scored_clips(score, two_stage_workspace):
    [report] = score(prior="predicted", subset="ms3")
    clips = ClipCache(two_stage_workspace / "clips.h5")
    half = np.zeros((224, 224), bool)
    half[:, :112] = True
    ious = []
    for clip in clips.select(split="test", subset="ms3"):
        for label in _truth(clips, clip, binary=False) != 0:
            ious.append((half & label).sum() / (half | label).sum() if label.any() else (~half).mean())
    assert report.content["prior"]["miou"]["all"] == pytest.approx(np.mean(ious), abs=1e-6)


def test_reports_hold_all_they_were_made_of_and_do_not_overwrite_each_other(score, tmp_path):
    [plain] = score(prior="oracle", subset="s4")
    [noisy] = score(prior="oracle", subset="s4", audio="snr:5", seed=4)
    assert plain.path == tmp_path / "out/test/avss.aavs-tiny-all-oracle-s3407.oracle.s4.original.json"
    assert noisy.path.name == "avss.aavs-tiny-all-oracle-s3407.oracle.s4.snr5-s4.json"
    assert read_json(plain.path) == json.loads(json.dumps(plain.content))
    assert noisy.content["audio"]["change"] == "snr:5"
    assert noisy.content["audio"]["seed"] == 4
    rows = plain.path.with_suffix(".csv").read_text().splitlines()
    assert rows[0].startswith("subset,index,class,frames,iou,f_score")
    assert len(rows) == 1 + 71 * 2
    stem = plain.path.name.removesuffix(".json")
    beside = {path.name for path in plain.path.parent.glob(f"{stem}*")}
    assert beside == {f"{stem}.json", f"{stem}.csv", f"{stem}.clips.csv", f"{stem}.confusion.csv"}


def test_the_table_of_confusion_adds_up_to_the_pixels_of_each_class(score):
    [report] = score(prior="oracle")
    with report.path.with_suffix(".confusion.csv").open() as handle:
        cells = [{**row, "pixels": int(row["pixels"])} for row in csv.DictReader(handle)]
    for subset, rows in report.content["per_class"].items():
        for side, column in (("target", "target_pixels"), ("predicted", "predicted_pixels")):
            for row in rows:
                mine = [c["pixels"] for c in cells if c["subset"] == subset and c[side] == str(row["index"])]
                assert sum(mine) == row[column]
    assert all(cell["pixels"] > 0 for cell in cells)


@pytest.mark.parametrize("score_name", ["miou", "f_score", "avs_miou", "avs_f_score"])
def test_the_table_of_clips_makes_up_every_score_of_the_report(score, score_name):
    [report] = score(prior="oracle")
    for subset in ("all", "s4", "ms3", "v2"):
        sums = read_clip_sums(report, score_name, subset)
        scores = report.content["scores"]["all" if subset == "all" else "subsets"]
        expected = (scores if subset == "all" else scores[subset])[score_name]
        assert sums.mean(np.ones((1, len(sums.clips))))[0] == pytest.approx(expected, abs=1e-12)  # order of the sums


def test_a_damaged_table_of_clips_is_named(score):
    [report] = score(prior="oracle", subset="s4")
    table = report.path.with_suffix(".clips.csv")
    for broken in ("uid,iou\na,b\n", "subset,uid,index,frames,iou,f_score\ns4,a,99,1,0.5,0.5\n"):
        table.write_text(broken)
        with pytest.raises(AvsctlError, match="original.clips.csv.*avsctl evaluate"):
            read_clip_sums(report, "miou")
    table.unlink()
    with pytest.raises(AvsctlError, match="is missing"):
        read_clip_sums(report, "miou")


def test_each_subset_is_scored_by_the_run_trained_on_it(two_stage_workspace, workspace_copy, train_tiny):
    root = workspace_copy(two_stage_workspace)
    train_tiny(root, "avs", subset="ms3")
    [report] = evaluate(Workspace(root), EvaluateConfig(task="avs", device="cpu"))
    routes = {run["name"]: run["subsets"] for run in report.content["runs"]}
    assert routes == {"aavs-tiny-ms3-none-s3407": ["ms3"], "aavs-tiny-all-none-s3407": ["s4", "v2"]}
    assert report.content["scores"]["all"]["clips"] == 6
    assert report.path.name.startswith("avs.routed-")
    shutil.rmtree(root / "runs/avs/aavs-tiny-all-none-s3407")
    [report] = evaluate(Workspace(root), EvaluateConfig(task="avs", device="cpu"))
    assert report.content["subset"] == "ms3"
    assert report.content["scores"]["all"]["clips"] == 2


def _changed(root, text, **options):
    clips, audio = ClipCache(root / "clips.h5"), AudioCache(root / "audio.h5")
    indices = clips.select(split="test")
    return clips, audio, indices, change_sound(clips, audio, indices, SoundChange.parse(text), **options)


def test_unshifted_sound_is_embedded_as_the_cache_has_it(tiny_workspace):
    clips, audio, indices, changed = _changed(tiny_workspace, "shift:0")
    for clip in indices:
        uid = clips.uids[clip]
        np.testing.assert_allclose(changed.embedding(uid), audio.embedding(uid), atol=1e-5)


def test_sound_shifted_by_a_second_has_its_embeddings_a_frame_later(tiny_workspace):
    clips, audio, indices, changed = _changed(tiny_workspace, "shift:1")
    uid = clips.uids[indices[0]]
    # From the second frame on: the first two are at the border between silence and sound.
    np.testing.assert_allclose(changed.embedding(uid)[2:], audio.embedding(uid)[1:-1], atol=1e-3)
    assert not np.allclose(changed.embedding(uid), audio.embedding(uid), atol=0.1)


def test_silence_sounds_the_same_in_every_clip(tiny_workspace):
    clips, _, indices, changed = _changed(tiny_workspace, "silence")
    rows = np.concatenate([changed.embedding(clips.uids[clip]) for clip in indices])
    assert np.ptp(rows, axis=0).max() == 0


def test_another_clip_is_of_the_same_split_and_subset(tiny_workspace):
    clips, audio, indices, changed = _changed(tiny_workspace, "other-clip")
    for clip in indices:
        [other] = [i for i in clips.select(split="test", subset=clips.subsets[clip]) if i != clip]
        np.testing.assert_array_equal(changed.embedding(clips.uids[clip]), audio.embedding(clips.uids[other]))


def _refused(root, message, **options):
    with pytest.raises(AvsctlError, match=message):
        evaluate(Workspace(root), EvaluateConfig(device="cpu", **options))
    assert not (root / "reports").exists()


def test_bad_requests_are_refused_before_anything_is_written(two_stage_workspace):
    refused = lambda message, **options: _refused(two_stage_workspace, message, **options)  # noqa: E731
    refused("avsctl predict-priors --level low", prior="low")
    refused("holds no clip of subset s5", subset="s5")
    refused("takes no prior", task="avs", prior="oracle")
    refused("task avs, not avss", task="avss", run=str(two_stage_workspace / "runs/avs/aavs-tiny-all-none-s3407"))
    refused("a run .* of each task. Give its folder", run="aavs-tiny-all-none-s3407")
    refused("No run named x", run="x")
    refused("single-stage run", task="avss", run="aavs-tiny-all-none-s3407", prior="oracle")
    refused("--prior empty", task="avss", run="aavs-tiny-all-oracle-s3407", prior="none")
    refused("shift takes seconds", audio="shift:abc")


def test_an_empty_workspace_names_the_first_missing_command(tmp_path, tiny_workspace, workspace_copy):
    _refused(tmp_path, "avsctl prepare")
    root = workspace_copy(tiny_workspace)
    _refused(root, "avsctl train-avss", prior="oracle")
    shutil.rmtree(root / "runs")
    _refused(root, "avsctl train-avs'")


def test_a_run_or_cache_that_does_not_fit_is_refused_at_once(two_stage_workspace, workspace_copy):
    root = workspace_copy(two_stage_workspace)
    path = root / "runs/avss/aavs-tiny-all-oracle-s3407/record.json"
    record = read_json(path)
    write_json(path, {**record, "classes": record["classes"][:5]})
    _refused(root, "knows 5 classes")
    write_json(path, {**record, "data": {**record["data"], "encoder": "vggish"}})
    _refused(root, "hears vggish")


def test_a_model_that_predicts_nan_is_refused_and_leaves_no_report(score, monkeypatch, tmp_path):
    load = stage.load_run

    def broken(*given):
        model = load(*given)
        next(model.parameters()).data.fill_(torch.nan)
        return model

    monkeypatch.setattr(stage, "load_run", broken)
    for options, message in (({"task": "avss", "prior": "empty"}, "Nothing can be decided"), ({"task": "avs"}, "nan")):
        with pytest.raises(AvsctlError, match=message):
            score(**options, subset="s4")
    assert not (tmp_path / "out").exists()


def test_weights_are_asked_for_where_the_encoder_has_some(two_stage_workspace):
    audio = AudioCache(two_stage_workspace / "audio.h5")
    audio.encoder = "vggish"
    with pytest.raises(AvsctlError, match="--weights FILE"):
        stage.check_change(audio, SoundChange.parse("noise"), None)
    stage.check_change(audio, SoundChange.parse("other-clip"), None)
