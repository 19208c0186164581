"""The maps of a frozen backbone, computed once: clips.h5 and a backbone in, features/*.h5 out."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avsctl.caches.features import FeatureCache, assemble_features
from avsctl.caches.files import hash_of
from avsctl.caches.shards import Shards, making, remove_leftovers
from avsctl.caches.space import readable_bytes
from avsctl.configs import TrainConfig
from avsctl.data.samples import Batch, ClipSamples, loader
from avsctl.distributed import on_main, own_turns, together
from avsctl.errors import AvsctlError
from avsctl.inference import FRAMES_AT_ONCE
from avsctl.progress import Track
from avsctl.workspace import Workspace
from avsctl_models import SegmentationModel
from avsctl_models.backbones import STRIDES

log = logging.getLogger(__name__)

CLIPS_PER_SHARD = 4


def use_features(
    workspace: Workspace,
    config: TrainConfig,
    model: SegmentationModel,
    samples: Mapping[str, ClipSamples],
    frozen: bool,
    workers: int,
    track: Track,
) -> None:
    """Let samples give the backbone's maps while it is frozen, as the configuration asks, else frames.

    Args:
        samples: by split, `train` and `val`.
        frozen: whether the backbone's weights are to stay as they are now.
    Raises: AvsctlError: If the disk can't hold the maps, or they don't fit into float16.
    """
    for split, wanted in (("train", ("train", "all")), ("val", ("all",))):
        cached = frozen and config.cache_features in wanted
        samples[split].features = None
        if cached:
            samples[split].features = _features(workspace, config, model, samples[split], split, workers, track)


def backbone_fingerprint(model: SegmentationModel) -> str:
    """Hash of everything that decides the maps that a backbone in evaluation mode gives of frames."""
    backbone = model.backbone
    kind = {name: model.spec["settings"].get(name) for name in ("backbone", "backbone_options", "normalization")}
    weights = {name: t for name, t in backbone.state_dict().items() if not name.endswith("num_batches_tracked")}
    parts = (part for name, t in sorted(weights.items()) for part in (name, t.cpu().contiguous().numpy().tobytes()))
    return hash_of(json.dumps(kind, sort_keys=True), *parts)


def _features(
    workspace: Workspace,
    config: TrainConfig,
    model: SegmentationModel,
    samples: ClipSamples,
    split: str,
    workers: int,
    track: Track,
) -> FeatureCache:
    """The cache of one split: the one that is there if it fits, else a new one in its place."""
    options = {
        "backbone": backbone_fingerprint(model),
        "image_size": samples.image_size,
        "strides": list(STRIDES[-config.cache_levels :]),
        "precision": config.cache_precision,
        # Whatever the training draws of a clip, it draws of these frames.
        "frames": "all" if split == "val" or samples.frames == "all" else "labelled",
        "split": split,
        "subset": config.subset,
    }
    path = workspace.features(f"{config.subset}-{split}-{hash_of(json.dumps(options, sort_keys=True))}")
    inputs = {"clips": samples.clips.fingerprint}
    plan = {**options, **inputs}
    if not on_main(lambda: _is_there(path, plan, split)):
        _compute(path, plan, options, inputs, model, samples, workers, track)
    return FeatureCache(path)


def _is_there(path: Path, plan: Mapping[str, object], split: str) -> bool:
    if _find(path, plan) is None:
        return False
    log.info("features of %s frames: %s", split, path)
    remove_leftovers(path)
    return True


def _find(path: Path, plan: Mapping[str, object]) -> FeatureCache | None:
    """The cache of this plan; None where it is missing, damaged, or made from something else."""
    if not path.exists():
        return None
    try:
        found = FeatureCache(path)
    except AvsctlError:
        log.warning("%s is damaged and is made again", path)
        return None
    if {**found.header["options"], **found.header["inputs"]} == plan:
        return found
    log.warning("%s was made from other clips or another backbone and is made again", path)
    return None


def _compute(
    path: Path,
    plan: Mapping[str, object],
    options: Mapping[str, Any],
    inputs: Mapping[str, str],
    model: SegmentationModel,
    samples: ClipSamples,
    workers: int,
    track: Track,
) -> None:
    clips = samples.clips
    kept = [
        np.flatnonzero(clips.labelled(clip)) if options["frames"] == "labelled" else np.arange(clips.frame_count(clip))
        for clip in samples.indices
    ]
    shapes = _shapes(model, samples.image_size, options["strides"])
    row_bytes = sum(int(np.prod(shape)) for shape in shapes.values()) * (2 if options["precision"] == "fp16" else 4)
    rows = sum(len(frames) for frames in kept)
    log.info("%s will hold the maps of %d frames: %s", path, rows, readable_bytes(rows * row_bytes))
    plain = ClipSamples(
        clips, samples.audio, samples.indices, task="avs", image_size=samples.image_size, frames=str(options["frames"])
    )
    with making(path, plan, len(kept), CLIPS_PER_SHARD, item_bytes=rows * row_bytes / len(kept), wait=True) as shards:
        if on_main(lambda: _find(path, plan) is not None):
            return  # another training, which was waited for, has made it
        missing = own_turns(on_main(shards.missing))
        reading = loader(plain, [list(shards.range(shard)) for shard in missing], workers)

        def write() -> None:
            for shard, batch in zip(missing, track(reading, "features", len(missing)), strict=False):
                _write_shard(shards, shard, batch, model, list(shapes), str(options["precision"]))

        def assemble() -> None:
            assemble_features(
                path,
                shards.read(),
                uids=[clips.uids[clip] for clip in samples.indices],
                frames=[[int(frame) for frame in frames] for frames in kept],
                shapes=shapes,
                inputs=inputs,
                options=options,
            )

        together(write)
        on_main(assemble)


@torch.inference_mode()
def _shapes(model: SegmentationModel, size: int, strides: Sequence[int]) -> dict[int, tuple[int, int, int]]:
    """(C, h, w) of the backbone's maps by stride; leaves the model in evaluation mode."""
    model.eval()
    frame = torch.zeros(1, 3, size, size, dtype=torch.uint8, device=next(model.parameters()).device)
    maps = dict(zip(STRIDES, model.backbone(model.normalize(frame)), strict=True))
    return {stride: tuple(maps[stride].shape[1:]) for stride in STRIDES if stride in strides}


@torch.inference_mode()
def _write_shard(
    shards: Shards, shard: int, batch: Batch, model: SegmentationModel, strides: list[int], precision: str
) -> None:
    device = next(model.parameters()).device
    kind = np.float16 if precision == "fp16" else np.float32
    parts = []
    for frames in batch.frames.split(FRAMES_AT_ONCE):
        maps = dict(zip(STRIDES, model.backbone(model.normalize(frames.to(device))), strict=True))
        with np.errstate(over="ignore"):
            parts.append({str(stride): maps[stride].float().cpu().numpy().astype(kind) for stride in strides})
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if not all(np.isfinite(level).all() for level in whole.values()):
        raise AvsctlError(
            f"The backbone's maps of the clips {', '.join(batch.uids)} hold numbers that {precision} does not. "
            f"Use --cache-precision fp32, or other weights."
        )
    cuts = np.cumsum(batch.lengths)[:-1]
    split = {name: np.split(level, cuts) for name, level in whole.items()}
    shards.write(shard, [{name: split[name][i] for name in split} for i in range(len(batch.lengths))])
