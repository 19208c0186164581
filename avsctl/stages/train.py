"""Train stage 1 (avs) or stage 2 (avss): caches in, a run's folder out."""

from __future__ import annotations

import logging
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch

from avsctl import __version__
from avsctl.ahead import PREFETCH
from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.files import read_json, write_json
from avsctl.caches.header import check_made_from
from avsctl.caches.locks import sole_writer
from avsctl.caches.space import check_space
from avsctl.configs import TrainConfig
from avsctl.data.samples import ClipSamples, PriorSource, loader
from avsctl.distributed import held_by_main, is_main, on_main, own_turns, together, world_size
from avsctl.errors import AvsctlError
from avsctl.inference import decided_classes
from avsctl.metrics import BinaryScores, SemanticScores
from avsctl.progress import Track, silent
from avsctl.rendering.curves import draw_curves
from avsctl.stages.cache_features import use_features
from avsctl.stages.evaluation_clips import clips_to_learn_from
from avsctl.stages.inputs import find_prior
from avsctl.stages.scoring import add_clips, groups, of_all_processes
from avsctl.stages.start_weights import start_from
from avsctl.stages.validation_pictures import ValidationPictures
from avsctl.training.checkpoint import checkpoint_bytes
from avsctl.training.compiling import compile_parts
from avsctl.training.deterministic import deterministic
from avsctl.training.devices import choose_device, derive_seed
from avsctl.training.loop import Position, Trainer
from avsctl.training.run_log import RunLog
from avsctl.workspace import Run, Workspace
from avsctl_models import SegmentationModel, create_model, load_backbone_weights, preset_settings
from avsctl_models.weights.files import read_weights

log = logging.getLogger(__name__)

CLIPS_AT_ONCE = 4
FILES_OF_A_RUN = (
    *("record.json", "last.safetensors", "model.safetensors", "start.json"),
    *("timing.json", "curve.png", "log.jsonl"),
)
"""What a run that starts anew deletes of the one before."""

ABLATION_SETTINGS: dict[str, dict[str, Any]] = {
    "adaptive-query": {"query": "repeated"},
    "masked-attention": {"masked_attention": False},
    "mask-fusion": {"prior_fusion": False},
    "mask-initialization": {"prior_mask": False},
    "robust-keys": {"prior_keys": False},
}
NO_PRIOR = {"prior_fusion": False, "prior_mask": False, "prior_keys": False}


def train(
    workspace: Workspace,
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    workers: int = 0,
    prefetch: int = PREFETCH,
    checkpoint_minutes: float = 10.0,
    logs: Sequence[str] = (),
    track: Track = silent,
) -> Path:
    """Train one model and keep its best epoch; inside `distributed.joined()`, with all processes of the group.

    Args:
        resume: insist on continuing a run that is there; an unfinished one is continued anyway, with exactly the
            result of an uninterrupted one.
        overwrite: start again where a run of this name is.
        workers, prefetch: processes that read clips (0 reads in this one), and batches read ahead; the result does
            not depend on them.
        logs: `tensorboard` writes its files beside `log.jsonl`, pictures of a few validation clips among them.
    Returns: the run's folder.
    Raises: AvsctlError: If a cache is missing or doesn't fit, a run of this name and other options is there already,
        or another process is training it.
    """
    clips, audio = ClipCache(workspace.clips), AudioCache(workspace.audio)
    check_made_from(audio.path, audio.header["inputs"], "clips", clips.fingerprint)
    target = choose_device(device)
    chosen = clips_to_learn_from(clips, config.subset)
    prior = training_prior(workspace, config, clips)
    folder = workspace.run_folder(config.task, config.run_name)
    with held_by_main(sole_writer(folder)), deterministic(config.deterministic):
        if on_main(lambda: _claim(folder, config, resume, overwrite)) is not None:
            model = compile_parts(build_model(config, clips, audio, folder).to(target), config.compile)
            check_space(folder, checkpoint_bytes(model), f"The run {folder.name}")
            samples = _samples(model, config, clips, audio, prior, chosen)
            _warn_of_idle_processes(config, model)
            record = _new_record(config, clips, audio, prior, model)
            started = time.time()
            trainer = Trainer(
                model,
                samples["train"],
                config,
                folder,
                validate=lambda current: validate(current, samples["val"], config, workers, prefetch),
                commit=lambda position: _write_record(folder, record, config, position, time.time() - started),
                run_log=RunLog(folder, tensorboard="tensorboard" in logs, writes=is_main()),
                begin_phase=lambda frozen: use_features(workspace, config, model, samples, frozen, workers, track),
                show=ValidationPictures(samples["val"], clips, config).draw,
                workers=workers,
                prefetch=prefetch,
                checkpoint_minutes=checkpoint_minutes,
                track=track,
            )
            trainer.run(resume=on_main(trainer.last.exists))
    return folder


def _warn_of_idle_processes(config: TrainConfig, model: SegmentationModel) -> None:
    idle = world_size() - config.batch_clips
    if idle > 0 and model.sees_clips:
        log.warning(
            "steps of %d clips leave %d of %d processes without a clip: raise --batch-clips, and --lr with it",
            config.batch_clips, idle, world_size(),
        )  # fmt: skip


def _samples(
    model: SegmentationModel,
    config: TrainConfig,
    clips: ClipCache,
    audio: AudioCache,
    prior: PriorSource | None,
    chosen: Mapping[str, Sequence[int]],
) -> dict[str, ClipSamples]:
    """What is trained on (`train`), and what is validated on (`val`)."""
    settings: dict[str, Any] = {
        "task": config.task,
        "image_size": model.image_size,
        "binary_labels": config.binary_labels,
        "prior": prior,
    }
    training = ClipSamples(
        clips,
        audio,
        chosen["train"],
        frames=config.s4_frames,
        frames_per_clip=config.frames_per_clip,
        augment=config.augment,
        seed=config.seed,
        **settings,
    )
    return {"train": training, "val": ClipSamples(clips, audio, chosen["val"], **settings)}


def build_model(
    config: TrainConfig, clips: ClipCache, audio: AudioCache, folder: Path | None = None
) -> SegmentationModel:
    """The model of a configuration with its initial weights.

    Args:
        folder: the run's, where `start.json` says what came from `init_from`; None writes nothing.
    Raises: AvsctlError: If a setting, or a file of weights, doesn't fit.
    """
    torch.manual_seed(derive_seed(config.seed, "model"))
    settings = model_settings(config)
    if "audio_relu" in preset_settings(config.model, config.preset, config.task):
        # VGGish is cached before its last ReLU, which these models expect; other encoders' signs mean something.
        settings["audio_relu"] = audio.encoder.startswith("vggish")
    classes = 2 if config.task == "avs" else len(clips.classes)
    try:
        model = create_model(
            config.model, preset=config.preset, task=config.task, num_classes=classes, audio_dim=audio.dim, **settings
        )
        if config.backbone_weights:
            load_backbone_weights(model.backbone, read_weights(Path(config.backbone_weights)))
        if config.init_from:
            start_from(model, config, clips.classes, folder)
    except (ValueError, OSError) as error:
        raise AvsctlError(f"{error}. See 'avsctl train-{config.task} --help'.") from None
    frozen = config.freeze_backbone or {"two-phase": True, "constant": config.frozen_epochs > 0}.get(config.schedule)
    if frozen and not (config.backbone_weights or config.init_from):
        log.warning(
            "the backbone is frozen and has random weights: give --backbone-weights or --init-from, "
            "or train all of it with --schedule scratch"
        )
    return model


def model_settings(config: TrainConfig) -> dict[str, Any]:
    """The model's settings in which a configuration differs from its preset.

    Raises: AvsctlError: If the model has no such setting.
    """
    known = preset_settings(config.model, config.preset, config.task)
    asked: dict[str, dict[str, Any]] = {f"--without {name}": ABLATION_SETTINGS[name] for name in config.without}
    for name in ("image_size", "pixel_decoder", "backbone", "normalization"):
        if getattr(config, name) is not None:
            asked["--" + name.replace("_", "-")] = {name: getattr(config, name)}
    if config.audio_loss is not None:
        distance = None if config.audio_loss == "none" else {"distance": config.audio_loss}
        asked["--audio-loss"] = {"audio_loss": distance}
    for option, settings in asked.items():
        if not settings.keys() <= known.keys():
            raise AvsctlError(f"{config.model} has nothing for {option} to change. Leave it out.")
    wanted = {name: value for settings in asked.values() for name, value in settings.items()}
    if config.task == "avss" and config.prior == "none":
        wanted |= {name: value for name, value in NO_PRIOR.items() if name in known}
    if config.backbone:
        wanted["backbone_options"] = {}  # the preset's belong to its own backbone
    if config.backbone and not config.backbone.startswith("swin_") and "backbone_adapters" in known:
        wanted["backbone_adapters"] = False  # they have a place in Swin's blocks only
    return wanted


def training_prior(workspace: Workspace, config: TrainConfig, clips: ClipCache) -> PriorSource | None:
    """What stage 2 sees in training and validation; None for stage 1 and for the single-stage model.

    Raises: AvsctlError: If the prior's cache is missing or belongs to other clips.
    """
    if config.task == "avs" or config.prior == "none":
        return None
    return find_prior(workspace, config.prior, config.prior_form, clips)


def validate(
    model: SegmentationModel, samples: ClipSamples, config: TrainConfig, workers: int = 0, prefetch: int = PREFETCH
) -> dict[str, float]:
    """Scores on the validation clips: mIoU and F-score as AVSBench computes them."""
    # Whole groups, since the company that a clip has in the network could change a last bit.
    batches = own_turns(groups(len(samples), CLIPS_AT_ONCE))
    own = together(lambda: _score(model, samples, batches, config, workers, prefetch))
    scores = of_all_processes(own)
    result = scores.result()["all"]
    return {name: result[name] for name in ("miou", "f_score")}


def _score(
    model: SegmentationModel,
    samples: ClipSamples,
    batches: Sequence[Sequence[int]],
    config: TrainConfig,
    workers: int,
    prefetch: int,
) -> BinaryScores | SemanticScores:
    scores = BinaryScores() if config.task == "avs" else SemanticScores(model.num_classes)
    reading = loader(samples, batches, workers, prefetch=prefetch, pin=next(model.parameters()).is_cuda)
    for part, batch in zip(batches, reading, strict=True):
        decided = decided_classes(
            model,
            batch.frames,
            batch.audio,
            batch.prior,
            lengths=batch.lengths,
            features=batch.features,
            precision=config.precision,
        )
        add_clips(scores, batch, decided, first=part[0])
    return scores


def _claim(folder: Path, config: TrainConfig, resume: bool, overwrite: bool) -> Path | None:
    """Take the run's folder; None if the run is complete and there is nothing to do."""
    if not (folder / "record.json").exists() or overwrite:
        if resume:
            raise AvsctlError(f"No run to continue at {folder}. Leave --resume out to start it.")
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES_OF_A_RUN:
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        write_json(folder / "config.json", config.to_json())
        return folder
    run = Run(folder)
    # An option that an earlier version did not have was at its default.
    before = {**TrainConfig(config.task).to_json(), **run.options}
    differs = sorted(name for name, value in config.to_json().items() if before.get(name) != value)
    if run.complete and not differs:
        log.info("%s is complete; nothing to do (--overwrite trains it again)", folder)
        return None
    if differs:
        raise AvsctlError(
            f"{folder} is a run with other options ({', '.join(differs)}). "
            "Add --overwrite to replace it, or give the new one another --name."
        )
    log.info("%s is unfinished: going on with it (--overwrite would start again)", folder)
    return folder


def _new_record(
    config: TrainConfig, clips: ClipCache, audio: AudioCache, prior: PriorSource | None, model: SegmentationModel
) -> dict[str, Any]:
    return {
        "task": config.task,
        "classes": clips.classes if config.task == "avss" else ["silent", "sounding"],
        "data": {
            "clips": clips.fingerprint,
            "audio": audio.fingerprint,
            "encoder": audio.encoder,
            "prior": None if prior is None else prior.fingerprint,
        },
        "model": model.spec,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "versions": {
            "avsctl": __version__,
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
    }


def _write_record(
    folder: Path, record: dict[str, Any], config: TrainConfig, position: Position, seconds: float
) -> None:
    best = next((entry for entry in position.history if entry["epoch"] == position.best_epoch), None)
    complete = position.epoch >= config.epochs
    # Wall-clock values live apart, so that a record is the same however long it took.
    spent = read_json(folder / "timing.json")["seconds"] if (folder / "timing.json").exists() else []
    write_json(folder / "timing.json", {"seconds": [*spent[: max(0, position.epoch - 1)], seconds][: position.epoch]})
    if position.history:
        draw_curves(position.history, folder / "curve.png", scores=("miou", "f_score"))
    # The record comes last: a run that it calls complete is never looked at again.
    write_json(folder / "record.json", {**record, "complete": complete, "best": best, "history": position.history})
