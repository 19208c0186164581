"""Time linear in the number of clips, and memory flat: `prepare`, `extract-audio` and `evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from avsctl.bench.clips import draw_clips, repeat_clips
from avsctl.bench.harness import Result, Settings, require_equal
from avsctl.bench.memory import Measured, in_own_process
from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.data.layouts import open_dataset
from avsctl.stages.extract_audio import extract_audio
from avsctl.stages.prepare import prepare
from avsctl.workspace import Workspace

COUNTS, QUICK_COUNTS = (100, 1000, 10000), (20, 100)
SIZE = 64
DRAWN = 100
LINEAR = 0.9
"""Least ratio of the time that the second largest number of clips lets expect to the time of the largest."""
FLAT = 1.1
"""Largest ratio of the peak memory of the largest number of clips to that of the smallest."""


def run(settings: Settings) -> list[Result]:
    """Time the three commands on growing numbers of S4-like clips, each in a process of its own."""
    counts = QUICK_COUNTS if settings.quick else COUNTS
    drawn = draw_clips(settings.scratch / "drawn", min(DRAWN, counts[0]), SIZE)
    weights = _make_model(settings.scratch / "tiny.safetensors")
    jobs: dict[str, Callable[[Path], partial]] = {
        "prepare": partial(partial, _prepare),
        "extract-audio": partial(partial, _extract),
        "evaluate": partial(partial, _evaluate, weights),
    }
    found: dict[str, list[Measured]] = {name: [] for name in jobs}
    for count in counts:
        root = settings.scratch / str(count)
        repeat_clips(drawn, root, count)
        for name, job in jobs.items():
            measured = in_own_process(job, root, threads=settings.threads if name == "evaluate" else 0)
            require_equal(measured.value == count, f"the number of clips: {measured.value} of {count}")
            found[name].append(measured)
    return [_result(name, counts, measured) for name, measured in found.items()]


def _result(name: str, counts: tuple[int, ...], measured: list[Measured]) -> Result:
    expected = measured[-2].seconds * counts[-1] / counts[-2]
    return Result(
        name=f"growth-{name}",
        ours_s=measured[-1].seconds,
        peer_s=expected,
        target=LINEAR,
        unit="clips",
        count=counts[-1],
        peer=f"{counts[-1] // counts[-2]} times the time of {counts[-2]:,} clips, and the memory of {counts[0]:,}",
        checked="every clip is in the result",
        ours_bytes=measured[-1].peak_bytes,
        peer_bytes=measured[0].peak_bytes,
        memory_target=FLAT,
        details={
            "counts": list(counts),
            "seconds": [one.seconds for one in measured],
            "peak_bytes": [one.peak_bytes for one in measured],
        },
    )


def _make_model(path: Path) -> Path:
    import torch

    from avsctl_models import create_model, save_model

    torch.manual_seed(0)
    return save_model(create_model("aavs", preset="tiny", image_size=SIZE), path)


def _prepare(root: Path) -> int:
    return len(ClipCache(prepare(open_dataset(root), root / "clips.h5", workers=1)))


def _extract(root: Path) -> int:
    extract_audio(root / "clips.h5", root / "audio.h5", workers=1)
    clips, audio = ClipCache(root / "clips.h5"), AudioCache(root / "audio.h5")
    return sum(len(audio.embedding(uid)) == clips.frame_count(clips.position[uid]) for uid in clips.uids)


def _evaluate(weights: Path, root: Path) -> int:
    from avsctl.stages.evaluate import EvaluateConfig, evaluate  # loads torch, which the others do without

    config = EvaluateConfig(task="avs", run=str(weights), device="cpu")
    return evaluate(Workspace(root), config)[0].content["scores"]["all"]["clips"]
