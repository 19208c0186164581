"""The report: what it gathers, which clips it shows, and that it never half-writes or overwrites."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import torch

from avsctl.caches.clips import ClipCache
from avsctl.caches.files import read_json, write_json
from avsctl.errors import AvsctlError
from avsctl.stages import report as stage, report_clips
from avsctl.stages.report import report
from avsctl.stages.report_clips import choose_clips
from avsctl.stages.report_gather import ReportConfig, gather
from avsctl.stages.report_scores import read_evaluations
from avsctl.stages.report_tables import class_table, confusion_table, prior_tables, score_tables
from avsctl.workspace import Workspace


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def copy(scored_workspace, tmp_path):
    """A copy of the scored workspace that may be changed."""
    return shutil.copytree(scored_workspace, tmp_path / "workspace")


def write(root, *, clips=1, **options):
    return report(Workspace(root), ReportConfig(device="cpu", clips=clips, **options))


def data_of(page):
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data-json">(.*?)</script>', text).group(1))


def test_a_whole_workspace_gives_one_page_with_everything_inside(copy):
    made = write(copy, clips=2)
    assert made.page == copy / "report.html"
    assert (made.media, made.fresh, made.clips, made.of) == (None, True, 6, 6)
    assert made.missing == [] and made.problems == []
    assert not list(copy.glob("report-media*"))
    text = made.page.read_text(encoding="utf-8")
    for section in ("clips", "scores", "priors", "classes", "confusion", "training", "runs", "data"):
        assert f'<section id="{section}"' in text
    for score in ("miou_legacy_batch4", "f_score_stepping_stones", "miou_padded_legacy", "avs_dataset_iou"):
        assert f"<code>{score}</code>" in text
    data = data_of(made.page)
    assert data["media"] is None
    assert {clip["subset"] for clip in data["clips"]} == {"s4", "ms3", "v2"}
    for clip in data["clips"]:
        assert set(clip["files"]) == {"frames.jpg", "truth.png", "prior-0.png", "result-0.png", "sound.mp3"}
        assert f'id="media-{clip["clip"]}"' in text


def test_the_same_input_gives_the_same_bytes_and_is_not_made_twice(copy, tmp_path, monkeypatch):
    first = write(copy)
    content = first.page.read_bytes()
    assert write(copy).fresh is False
    second = write(copy, out=tmp_path / "other" / "report.html")
    assert second.page.read_bytes() == content
    write_json(copy / "runs/avss/aavs-tiny-all-oracle-s3407/timing.json", {"seconds": [754.0]})
    assert write(copy).fresh is True
    assert "12 min 34 s" in first.page.read_text(encoding="utf-8")


def test_larger_media_lie_beside_the_page_and_a_single_file_holds_them(copy, monkeypatch):
    monkeypatch.setattr(stage, "EMBED_BYTES", 1000)
    made = write(copy)
    data = data_of(made.page)
    assert made.media == copy / "report-media"
    for clip in data["clips"]:
        for name, size in clip["files"].items():
            assert (copy / data["media"] / f"{clip['clip']:06d}" / name).stat().st_size == size
    assert 'id="media-' not in made.page.read_text(encoding="utf-8")
    assert write(copy).fresh is False
    shutil.rmtree(copy / data["media"] / f"{data['clips'][0]['clip']:06d}")
    assert write(copy).fresh is True  # a lost file is made again
    inside = write(copy, single_file=True)
    assert inside.media is None and not (copy / "report-media").exists()


def test_a_stopped_report_goes_on_where_it_was(copy, monkeypatch):
    seen = []
    real = report_clips._predict

    def counted(panel, model, clip, precision):
        if len(seen) == 2 and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt
        seen.append(clip.uids[0])
        return real(panel, model, clip, precision)

    stopped = []
    monkeypatch.setattr(report_clips, "_predict", counted)
    with pytest.raises(KeyboardInterrupt):
        write(copy)
    assert not (copy / "report.html").exists()
    made = write(copy)
    assert sorted(seen) == sorted(set(seen)) and len(seen) == 3
    assert made.page.exists()


def test_the_result_shown_is_the_one_that_was_scored(copy):
    data = data_of(write(copy).page)
    clips = ClipCache(copy / "clips.h5")
    [panel] = data["panels"]
    assert panel["prior"] == "predicted"
    for clip in data["clips"]:
        assert clips.uids[clip["clip"]] == clip["uid"]
        table = (copy / "reports/test/avss.aavs-tiny-all-oracle-s3407.predicted.all.original.clips.csv").read_text()
        rows = [row.split(",") for row in table.splitlines()[1:]]
        seen = {int(index) for _, uid, index, *_ in rows if uid == clip["uid"] and index}
        shown = {index for second in (*clip["truth"], *clip["results"][0]) for index, _ in second or ()}
        assert shown <= seen - {0}


def test_runs_stand_side_by_side(copy):
    runs = ("avss/aavs-tiny-all-oracle-s3407", "avss/aavs-tiny-all-none-s3407", "avs/aavs-tiny-all-none-s3407")
    data = data_of(write(copy, runs=runs).page)
    assert tuple(panel["title"] for panel in data["panels"]) == runs
    assert [panel["sounding"] for panel in data["panels"]] == [False, False, True]
    files = set(data["clips"][0]["files"])
    assert {"result-0.png", "result-1.png", "result-2.png", "prior-0.png", "prior-2.png"} <= files
    assert "prior-1.png" not in files  # a single-stage model has none
    assert {score["panel"] for score in data["scores"]} == {0, 1, 2}
    with pytest.raises(AvsctlError, match="several runs named .*avs/aavs-tiny-all-none-s3407 or avss/"):
        write(copy, runs=("aavs-tiny-all-none-s3407",))
    with pytest.raises(AvsctlError, match="No run named nothing"):
        write(copy, runs=("nothing",))


def test_half_a_workspace_shows_what_there_is_and_says_what_is_missing(copy, tmp_path):
    shutil.rmtree(copy / "reports")
    made = write(copy)
    commands = [one.command for one in made.missing]
    assert "avsctl evaluate --split test --task avss --run aavs-tiny-all-oracle-s3407" in commands
    assert made.clips == 3
    shutil.rmtree(copy / "runs/avss")
    shutil.rmtree(copy / "priors")
    made = write(copy)
    commands = [one.command for one in made.missing]
    assert "avsctl train-avss" in commands and "avsctl predict-priors" in commands
    assert [panel["title"] for panel in data_of(made.page)["panels"]] == ["avs/aavs-tiny-all-none-s3407"]
    shutil.rmtree(copy / "runs")
    (copy / "audio.h5").unlink()
    made = write(copy)
    assert {"avsctl extract-audio", "avsctl train-avs"} <= {one.command for one in made.missing}
    assert set(data_of(made.page)["clips"][0]["files"]) == {"frames.jpg", "truth.png", "sound.mp3"}
    with pytest.raises(AvsctlError, match="Nothing to report .*avsctl prepare"):
        write(tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


def test_scores_of_another_training_are_not_shown(copy):
    run = copy / "runs/avs/aavs-tiny-all-none-s3407/model.safetensors"
    run.write_bytes(run.read_bytes() + b"\0")
    found = gather(Workspace(copy), ReportConfig(clips=0, device="cpu"))
    assert {e.task for e in found.evaluations} == {"avss"}
    assert any("earlier training of avs/aavs-tiny-all-none-s3407" in problem for problem in found.problems)


@pytest.mark.parametrize("spoil", ["{", "[]", '{"task": "x"}', '{"task": "avs", "scores": {"all": {}, "subsets": {}}}'])
def test_a_damaged_report_is_named_and_the_others_are_shown(copy, spoil):
    path = copy / "reports/test/avs.aavs-tiny-all-none-s3407.none.all.original.json"
    path.write_text(spoil)
    made = write(copy, clips=0)
    assert any(path.name in problem for problem in made.problems)
    assert "Stage 2: what sounds" in made.page.read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "spoil"), [("record.json", "{"), ("record.json", "[1]"), ("config.json", "null")])
def test_a_damaged_run_is_named(copy, name, spoil):
    (copy / "runs/avss/aavs-tiny-all-none-s3407" / name).write_text(spoil)
    made = write(copy, clips=0)
    assert any("aavs-tiny-all-none-s3407" in problem for problem in made.problems)


def test_a_missing_table_of_clips_is_said_and_clips_are_shown_without_it(copy):
    for path in (copy / "reports/test").glob("*.clips.csv"):
        path.unlink()
    made = write(copy)
    assert data_of(made.page)["scores"] == []
    assert any(one.what.startswith("Scores of single clips") for one in made.missing)


def test_other_files_are_not_overwritten(copy):
    mine = copy / "report.html"
    mine.write_text("my own notes")
    with pytest.raises(AvsctlError, match="no report. Add --overwrite"):
        write(copy)
    assert mine.read_text() == "my own notes"
    assert report(Workspace(copy), ReportConfig(clips=0, device="cpu"), overwrite=True).fresh
    with pytest.raises(AvsctlError, match="is a folder"):
        write(copy, out=copy / "runs")


def test_the_worst_and_best_clips_of_each_subset_are_chosen(scored_workspace):
    clips = ClipCache(scored_workspace / "clips.h5")
    everyone = clips.select(split=None)
    scores = {(clips.subsets[i], clips.uids[i]): {"miou": (7 * i) % 11 / 11} for i in everyone}
    chosen = choose_clips(clips, "all", "all", 3, scores, "miou")
    for subset in ("s4", "ms3", "v2"):
        mine = sorted((i for i in everyone if clips.subsets[i] == subset), key=lambda i: (7 * i) % 11)
        assert {i for i, why in chosen.items() if why == "worst" and clips.subsets[i] == subset} == set(mine[:2])
        assert {i for i, why in chosen.items() if why == "best" and clips.subsets[i] == subset} == {mine[-1]}
    assert list(chosen) == sorted(chosen)
    assert set(choose_clips(clips, "all", "s4", 3, {}, "miou").values()) == {"sample"}
    assert choose_clips(clips, "all", "all", None, {}, "miou") == dict.fromkeys(everyone, "all")


def test_tables_hold_the_numbers_of_the_reports(scored_workspace):
    found = gather(Workspace(scored_workspace), ReportConfig(clips=0, device="cpu"))
    folder = scored_workspace / "reports/test"
    evaluations, problems = read_evaluations(folder, found.runs, None, subset="all", only=False)
    assert problems == []
    tables = score_tables(evaluations, "all")
    assert [table["task"] for table in tables] == ["avs", "avss"]
    for table in tables:
        mine = [e for e in evaluations if e.task == table["task"]]
        assert len(table["columns"]) == len(mine)
        for row in table["parts"][0]["rows"]:
            for value, evaluation in zip(row["values"], mine, strict=True):
                expected = evaluation.content["scores"]["all"].get(row["name"])
                if isinstance(expected, float):
                    assert value == f"{100 * expected:.1f}"
    [prior] = prior_tables(found.runs, evaluations, found.runs)
    by_name = {row["prior"]: row for row in prior["rows"]}
    assert set(by_name) == {"oracle", "predicted", "empty", None}
    assert by_name["predicted"]["gap_to_oracle"] == by_name["oracle"]["miou"] - by_name["predicted"]["miou"]
    main = next(e for e in evaluations if e.prior == "predicted")
    rows = class_table([(found.runs[0], main)], "all")["rows"]
    assert [row["cells"][0]["iou"] for row in rows] == sorted(row["cells"][0]["iou"] for row in rows)


def test_confusion_is_the_share_of_each_class_and_names_the_largest_mistakes():
    matrix = np.zeros((5, 5), int)
    matrix[0, 0], matrix[1, 1], matrix[1, 3], matrix[3, 0] = 900, 30, 70, 5
    table = confusion_table(matrix, ["background", "dog", "cat", "bell", "axe"])
    assert table["names"] == ["background", "dog", "bell"]
    assert [[cell["text"] for cell in row["cells"]] for row in table["rows"]] == [
        ["100", "", ""], ["", "30", "70"], ["100", "", ""],
    ]  # fmt: skip
    assert table["mistakes"] == [
        {"target": "dog", "predicted": "bell", "share": "70.0"},
        {"target": "bell", "predicted": "background", "share": "100.0"},
    ]
    assert confusion_table(np.zeros((5, 5), int), ["a"] * 5) is None


def test_confusion_is_read_from_what_evaluate_wrote(scored_workspace):
    found = gather(Workspace(scored_workspace), ReportConfig(clips=0, device="cpu"))
    main = found.mains["avss/aavs-tiny-all-oracle-s3407"]
    matrix = main.confusion("all")
    rows = read_json(main.path)["per_class"]["all"]
    assert matrix.sum(1).tolist() == [row["target_pixels"] for row in rows]
    assert matrix.sum(0).tolist() == [row["predicted_pixels"] for row in rows]
    per_clip = main.clip_scores()
    means = [scores["avs_miou"] for scores in per_clip.values()]
    assert np.mean(means) == pytest.approx(main.content["scores"]["all"]["avs_miou"], abs=1e-12)
