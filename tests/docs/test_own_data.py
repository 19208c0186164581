"""The page on one's own data, walked through: its own command lines, on made videos, with short trainings."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avsctl.caches.clips import ClipCache
from avsctl.cli import cli
from avsctl.cli._console import run_guarded
from avsctl.data.labels import read_label

sys.path.append(str(Path(__file__).parents[1] / "rendering"))
from made_videos import make_video  # noqa: E402

PAGE = Path(__file__).parents[2] / "docs" / "own_data.md"
SHORT = ["--preset", "tiny", "--epochs", "1", "--max-steps", "1", "--image-size", "64", "--batch-clips", "2"]
SPLITS = {"kettle_1": "train", "tap_1": "train", "dog_1": "train", "kettle_2": "val", "tap_2": "test"}
BOX = (16, 12, 40, 36)  # x, y to x, y of what sounds in every video
SIZE = (64, 48)


@pytest.fixture
def folder(tmp_path, monkeypatch, two_stage_workspace):
    """What the page supposes: `videos/`, and `source/` with trained models, one of which knows a dog."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AVSCTL_WORKSPACE", raising=False)
    shutil.copytree(two_stage_workspace / "runs", tmp_path / "source" / "runs")
    (tmp_path / "videos").mkdir()
    for number, name in enumerate(SPLITS):
        picture = np.full((*SIZE[::-1], 3), 40 + 20 * number, np.uint8)
        picture[BOX[1] : BOX[3], BOX[0] : BOX[2]] = (250, 50 * number, 0)
        wave = np.sin(np.arange(32000) / (4 + number)).astype(np.float32) / 2
        make_video(tmp_path / "videos" / f"{name}.mp4", [picture] * 8, [n / 4 for n in range(8)], wave=wave)
    return tmp_path


@pytest.fixture
def run(monkeypatch, capfd):
    """Run a line of the page; trainings are cut short, all on the CPU."""
    terminate = signal.getsignal(signal.SIGTERM)

    def run(line):
        words = [name for word in shlex.split(line) for name in (sorted(map(str, Path().glob(word))) or [word])]
        if words[1].startswith("train-"):
            words += SHORT
        if words[1] in ("train-avs", "train-avss", "predict-priors", "visualize", "evaluate"):
            words += ["--device", "cpu"]
        monkeypatch.setattr(sys, "argv", words)
        code = run_guarded(cli)
        captured = capfd.readouterr()
        assert code == 0, f"{line}\n{captured.err}"
        return captured.out, captured.err

    yield run
    signal.signal(signal.SIGTERM, terminate)


def blocks():
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [[line for line in block.splitlines() if line.strip()] for block in found]


def annotate(clips):
    """What is done by hand: splits, index pictures, and the same masks in a COCO file."""
    with (clips / "clips.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (clips / "clips.csv").open("w") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "split": SPLITS[row["uid"]]} for row in rows)
    names = ["background", "kettle", "tap", "dog"]
    (clips / "classes.json").write_text(json.dumps(names))
    images, annotations = [], []
    left, top, right, bottom = BOX
    for uid in SPLITS:
        index = np.zeros(SIZE[::-1], np.uint8)
        index[top:bottom, left:right] = names.index(uid.split("_")[0])
        (clips / uid / "labels").mkdir()
        Image.fromarray(index).save(clips / uid / "labels" / "1.png")  # not every second needs one
        image = {"id": len(images), "file_name": f"{uid}/frames/1.jpg", "width": SIZE[0], "height": SIZE[1]}
        polygon = [left, top, right, top, right, bottom, left, bottom]
        annotation = {"id": len(images), "image_id": image["id"], "category_id": int(index.max())}
        annotations.append({**annotation, "segmentation": [polygon]})
        images.append(image)
    categories = [{"id": number, "name": name} for number, name in enumerate(names) if number]
    content = {"images": images, "annotations": annotations, "categories": categories}
    Path("masks.json").write_text(json.dumps(content))


def labels():
    cache = ClipCache(Path("clips.h5"))
    found = [[read_label(data) if data else None for data in cache.label_bytes(clip)] for clip in range(len(cache))]
    return cache, found


def test_every_line_of_the_page_runs_in_turn(folder, run):
    alone, pictures, coco, tune, result = blocks()
    for line in alone:
        run(line)
    assert ClipCache(Path("clips.h5")).label_kind == "none"
    annotate(Path("clips"))
    for line in pictures:
        run(line)
    cache, drawn = labels()
    assert cache.classes == ["background", "kettle", "tap", "dog"]
    assert all([label is not None for label in clip] == [False, True] for clip in drawn)
    for line in coco:
        run(line)
    cache, exported = labels()
    assert cache.classes == ["background", "kettle", "tap", "dog"]
    for one, other in zip(drawn, exported, strict=True):
        np.testing.assert_array_equal(one[1], other[1])
    said = [run(line)[1] for line in tune]
    assert "classes: 2 (background, dog) kept; 2 (kettle, tap) new" in said[-1]
    start = json.loads(Path("runs/avss/aavs-tiny-all-oracle-s3407/start.json").read_text())
    assert (start["class_rows"]["kept"], start["class_rows"]["new"]) == (["background", "dog"], ["kettle", "tap"])
    for line in result:
        run(line)
    reports = list(Path("reports/test").glob("avss*.json"))
    assert json.loads(reports[0].read_text())["clips"]["classes"] == 4
    assert "kettle" in Path("report.html").read_text(encoding="utf-8")
    assert len(list(Path("drawn").glob("*-overlay.mp4"))) == 5
    assert Path("visualize/compare-test/summary.png").exists()
