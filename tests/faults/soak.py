"""Run predict-priors and evaluate over many tiny clips and watch this process's memory and open files.

    python tests/faults/soak.py --clips 2000

Every clip is one drawn frame with its own name; a stage-1 model of one training step serves them. Memory is the
resident set, measured after every tenth clip; its slope is that of a straight line through all measurements but the
first fifth, in which caches fill.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

LIMIT = 1024
"""Bytes that a clip may leave behind."""
EVERY = 10
WARM_UP = 0.2


@dataclass
class Watch:
    """A stage's progress that measures: rows of `memory` are (clip, bytes), of `files` (clip, open files)."""

    memory: list[tuple[int, int]] = field(default_factory=list)
    files: list[tuple[int, int]] = field(default_factory=list)

    def __call__(self, items: Iterable[Any], description: str = "", total: int | None = None) -> Iterator[Any]:
        watched = description.startswith(("stage 1", "scoring"))
        for number, item in enumerate(items):
            yield item
            if watched and number % EVERY == 0:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                self.memory.append((number, pages * os.sysconf("SC_PAGE_SIZE")))
                self.files.append((number, len(os.listdir("/proc/self/fd"))))

    def result(self) -> dict[str, Any]:
        """Clips seen, slope in bytes per clip, growth in bytes and the numbers of open files after the warm-up."""
        start = int(WARM_UP * len(self.memory))
        clips, used = np.array(self.memory[start:], float).T
        files = sorted({count for _, count in self.files[start:]})
        slope = float(np.polyfit(clips, used, 1)[0])
        return {"clips": self.memory[-1][0] + 1, "slope": slope, "growth": int(used[-1] - used[0]), "files": files}


def make_workspace(root: Path, clips: int) -> None:
    """Write `clips.h5` and `audio.h5` of tiny clips, and train stage 1 on them for one step."""
    from avsctl.caches.audio import assemble_audio
    from avsctl.caches.clips import ClipCache, ClipRecord, assemble_clips
    from avsctl.configs import resolve_training
    from avsctl.stages.train import train
    from avsctl.workspace import Workspace

    rng = np.random.default_rng(0)
    frame, label = _picture(rng.integers(0, 255, (32, 32, 3), np.uint8)), _picture(np.eye(32, dtype=np.uint8))

    def records() -> Iterator[dict[str, np.ndarray]]:
        for number in range(clips):
            split = ("train", "val")[number] if number < 2 else "test"
            uid = f"clip-{number:05d}"
            yield ClipRecord(uid, uid, "ms3", split, [frame], [label], b"").arrays()

    assemble_clips(
        root / "clips.h5",
        records,
        classes=["background", "kettle"],
        palette=np.array([[0, 0, 0], [128, 0, 0]], np.uint8),
        label_kind="semantic",
        options={"layout": "soak"},
    )
    cache = ClipCache(root / "clips.h5")
    sound = rng.normal(size=(clips, 1, 128)).astype(np.float32)
    assemble_audio(
        root / "audio.h5",
        lambda: ({"embedding": row} for row in sound),
        uids=cache.uids,
        encoder="logmel",
        inputs={"clips": cache.fingerprint},
        options={},
    )
    options = {"image_size": 64, "epochs": 1, "max_steps": 1, "batch_clips": 1}
    train(Workspace(root), resolve_training("avs", "tiny", "ms3", options), device="cpu")


def _picture(pixels: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def soak(clips: int) -> dict[str, dict[str, Any]]:
    """Measurements of predict-priors and evaluate over so many clips."""
    from avsctl.stages.evaluate import evaluate
    from avsctl.stages.evaluation_plan import EvaluateConfig
    from avsctl.stages.predict_priors import predict_priors, route_runs
    from avsctl.workspace import Workspace

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        make_workspace(workspace.root, clips)
        watch = Watch()
        predict_priors(workspace, route_runs(workspace), size=32, device="cpu", track=watch)
        found["predict-priors"] = watch.result()
        watch = Watch()
        evaluate(workspace, EvaluateConfig(task="avs", device="cpu"), track=watch)
        found["evaluate"] = watch.result()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=2000)
    found = soak(parser.parse_args().clips)
    print(json.dumps(found, indent=1))
    return int(any(one["slope"] >= LIMIT or len(one["files"]) > 1 for one in found.values()))


if __name__ == "__main__":
    sys.exit(main())
