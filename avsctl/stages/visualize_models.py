"""The models that `visualize` uses: which checkpoints, what they hear, and what they predict together."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.configs import LABEL_SIZE
from avsctl.data.palette import CLASS_NAMES, palette
from avsctl.errors import AvsctlError
from avsctl.inference import class_maps, sounding_probability
from avsctl.stages.extract_audio import load_encoder
from avsctl.stages.inputs import load_checkpoint
from avsctl.training.compiling import compile_parts
from avsctl.training.devices import choose_device
from avsctl.workspace import Run, Workspace
from avsctl_models.audio.encoders import AudioEncoder
from avsctl_models.contract import SegmentationModel

log = logging.getLogger(__name__)

MAP_SIZE = 112
"""Side of the class maps that are kept and interpolated: half of what scores are computed at."""

SOUNDING = ("background", "sounding")
SOUNDING_COLOURS = np.array([[0, 0, 0], [224, 96, 0]], np.uint8)


@dataclass(frozen=True)
class Checkpoint:
    """A model's file, with the run it belongs to where there is one."""

    task: str
    path: Path
    run: Run | None = None

    @property
    def name(self) -> str:
        """The run's name, or the file's path."""
        return self.run.name if self.run else str(self.path)

    @property
    def short_name(self) -> str:
        """The run's name, or the file's without its ending."""
        return self.run.name if self.run else self.path.stem

    def encoder(self, audio_dim: int | None, weights: Path | None) -> str:
        """The sound encoder it was trained with: from its run's record, else by the width of the embedding.

        Raises: AvsctlError: If nothing tells.
        """
        if audio_dim is None:
            raise AvsctlError(f"{self.path} hears nothing. Give a model that 'avsctl train-{self.task}' wrote.")
        if self.run:
            return self.run.record["data"]["encoder"]
        known = {(128, False): "logmel", (128, True): "vggish", (1024, True): "yamnet"}
        found = known.get((audio_dim, weights is not None))
        if found is None:
            raise AvsctlError(
                f"{self.path} hears {audio_dim} numbers a second, and no record.json beside it names their encoder. "
                f"Add --audio-weights FILE (1024 numbers: YAMNet), or give the run's folder."
            )
        return found


def choose_checkpoints(
    workspace: Workspace, *, avs: str | None = None, avss: str | None = None, subset: str | None = None
) -> tuple[Checkpoint | None, Checkpoint | None]:
    """Stage 1 and stage 2: what was asked for, else the workspace's newest that fit together.

    By default stage 1 is the newest completed run trained on all (or on the subset), else the newest of any.
    Stage 2 is the newest completed run that takes a prior, else a single-stage run; there may be none.

    Args:
        avs, avss: a run's name or folder, or a `model.safetensors`.
        subset: the clips it is for; None or `all` for videos and clips of any kind.
    Raises: AvsctlError: If a named one is missing, or there is none at all.
    """
    first = named_checkpoint(workspace, "avs", avs) if avs else _newest(workspace, "avs", subset)
    second = named_checkpoint(workspace, "avss", avss) if avss else None
    if not avss and first:
        second = _newest(workspace, "avss", subset, two_stage=True)
    if not avss and not second:
        second = _newest(workspace, "avss", subset, two_stage=False)
    if first is None and second is None:
        raise AvsctlError(
            f"No completed run in {workspace.root / 'runs'} to predict with. Run 'avsctl train-avs' first, "
            f"or give --avs and --avss."
        )
    for checkpoint in (first, second):
        if checkpoint:
            log.info("%s: %s", checkpoint.task, checkpoint.name)
    return first, second


def named_checkpoint(workspace: Workspace, task: str, name: str) -> Checkpoint:
    """A checkpoint by a run's name or folder, or by its file.

    Raises: AvsctlError: If there is no such run, or it is unfinished or of another task.
    """
    path = Path(name)
    if path.is_file() or path.suffix == ".safetensors":
        run = Run(path.parent) if (path.parent / "record.json").exists() and path.name == "model.safetensors" else None
        return Checkpoint(task, path, run)
    run = workspace.find_run(task, name)
    return Checkpoint(task, run.weights, run)


def _newest(workspace: Workspace, task: str, subset: str | None, *, two_stage: bool | None = None) -> Checkpoint | None:
    runs = [run for run in workspace.runs(task) if run.complete]
    if two_stage is not None:
        runs = [run for run in runs if (run.options.get("prior", "none") != "none") == two_stage]
    wanted = subset or "all"
    rank = {wanted: 0, "all": 1}
    if task == "avs" or wanted != "all":
        runs.sort(key=lambda run: rank.get(run.options["subset"], 2))  # stable: the newest of each stay first
    return Checkpoint(task, runs[0].weights, runs[0]) if runs else None


@dataclass(frozen=True)
class Seen:
    """What the models say of N frames.

    Args:
        prior: (N, 224, 224) float32 probability of stage 1, or None without a stage 1.
        maps: (N, K, 112, 112) float32 class maps of the last stage.
    """

    prior: Tensor | None
    maps: Tensor


@dataclass
class Shelf:
    """What is loaded already: models by task and file, sound encoders by name; a comparison shares it."""

    models: dict[tuple[str, Path], SegmentationModel] = field(default_factory=dict)
    encoders: dict[str, AudioEncoder] = field(default_factory=dict)


class Segmenter:
    """Both stages, loaded, with their encoders, class names and colours.

    Args:
        first, second: stage 1 and stage 2 from `choose_checkpoints`.
        clips: the workspace's clips, whose colours are taken where the classes are the same.
        audio_weights: file of the encoder, for vggish and yamnet.
        audio: embeddings to take instead of encoding sound; the models must have learnt from such.
        prior_form: `hard` or `soft`; None is the form that stage 2 was trained with.
        shelf: takes what is loaded, and gives it to the next segmenter.
    Raises: AvsctlError: If a model, its encoder or the two stages don't fit.
    """

    def __init__(
        self,
        first: Checkpoint | None,
        second: Checkpoint | None,
        *,
        clips: ClipCache | None = None,
        audio_weights: Path | None = None,
        audio: AudioCache | None = None,
        prior_form: str | None = None,
        device: str = "auto",
        precision: str = "fp32",
        compile: bool = False,
        shelf: Shelf | None = None,
    ):
        self.first, self.second, self.precision, self._compile = first, second, precision, compile
        self._shelf, self._device = shelf or Shelf(), choose_device(device)
        self._models = {c.task: self._load_model(c) for c in (first, second) if c}
        self.uses_prior = second is not None and self._models["avss"].uses_prior
        if second and self.uses_prior and first is None:
            raise AvsctlError(
                f"{second.path} is of stage 2 and needs stage 1's prior. Run 'avsctl train-avs' first, or give --avs."
            )
        self.prior_form = prior_form or default_prior_form(second)
        self.heard = {
            c.task: self._load_encoder(c, audio_weights) if audio is None else self._check_audio(c, audio)
            for c in (first, second)
            if c
        }
        self.names, self.colours = self._classes(clips)

    @property
    def encoders(self) -> dict[str, AudioEncoder]:
        """The sound encoders that are loaded, by name."""
        return self._shelf.encoders

    def _load_model(self, checkpoint: Checkpoint) -> SegmentationModel:
        key = checkpoint.task, checkpoint.path
        if key not in self._shelf.models:
            model = load_checkpoint(checkpoint.path, checkpoint.task, self._device)
            self._shelf.models[key] = compile_parts(model, self._compile)
        return self._shelf.models[key]

    def _load_encoder(self, checkpoint: Checkpoint, weights: Path | None) -> str:
        model = self._models[checkpoint.task]
        name = checkpoint.encoder(model.audio_dim, weights)
        if name != "logmel" and (weights is None or not weights.is_file()):
            found = f"{weights} is no file" if weights else "its weights are not given"
            raise AvsctlError(f"{checkpoint.name} hears {name}, and {found}. Add --audio-weights FILE.")
        if name not in self.encoders:
            self.encoders[name] = load_encoder(name, None if name == "logmel" else weights)
        if self.encoders[name].dim != model.audio_dim:
            raise AvsctlError(
                f"{checkpoint.path} hears {model.audio_dim} numbers a second, {name} gives "
                f"{self.encoders[name].dim}. Give another --audio-weights, or the run's folder."
            )
        return name

    def _check_audio(self, checkpoint: Checkpoint, audio: AudioCache) -> str:
        dim = self._models[checkpoint.task].audio_dim
        name = checkpoint.run.record["data"]["encoder"] if checkpoint.run else audio.encoder
        if (name, dim) != (audio.encoder, audio.dim):
            raise AvsctlError(
                f"{checkpoint.name} hears {name} ({dim} numbers), but {audio.path} holds {audio.encoder} "
                f"({audio.dim}). Run 'avsctl extract-audio --encoder {name} --overwrite'."
            )
        return name

    def _classes(self, clips: ClipCache | None) -> tuple[list[str], np.ndarray]:
        if self.second is None:
            return list(SOUNDING), SOUNDING_COLOURS
        count = self._models["avss"].num_classes
        if self.second.run:
            names = list(self.second.run.record["classes"])
        elif clips is not None and len(clips.classes) == count:
            names = clips.classes
        else:
            names = list(CLASS_NAMES) if count == len(CLASS_NAMES) else _numbered(count)
        return names, clips.palette if clips is not None and clips.classes == names else palette(count)

    @property
    def sizes(self) -> set[int]:
        """Sides of the pictures that its models take."""
        return {model.image_size for model in self._models.values()}

    def predict(
        self,
        frames: Sequence[Mapping[int, np.ndarray]],
        sounds: Mapping[str, np.ndarray],
        prior: Tensor | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Seen:
        """Run both stages on N frames.

        Args:
            frames: N results of `shrink` with its `sizes`.
            sounds: (N, D) float32 by encoder.
            prior: stage 1's probability of these frames, if it is known already.
            lengths: frames of each clip, for models that see several together; None for one clip.
        Raises: AvsctlError: If a model predicts NaN.
        """
        maps = torch.empty(0)
        if self.first and (prior is None or not self.second):
            maps = self._maps(self.first, frames, sounds, None, lengths, LABEL_SIZE)
            prior = sounding_probability(maps)
        if self.second is None:
            return Seen(prior, nn.functional.interpolate(maps, size=(MAP_SIZE, MAP_SIZE), mode="area"))
        given = prior if self.uses_prior else None
        if given is not None and self.prior_form == "hard":
            given = (given > 0.5).float()
        return Seen(prior, self._maps(self.second, frames, sounds, given, lengths, MAP_SIZE))

    def _maps(self, checkpoint, frames, sounds, prior: Tensor | None, lengths, size: int) -> Tensor:
        model = self._models[checkpoint.task]
        pictures = torch.from_numpy(np.stack([frame[model.image_size] for frame in frames]))
        audio = torch.from_numpy(sounds[self.heard[checkpoint.task]])
        pictures = pictures.permute(0, 3, 1, 2).contiguous()
        maps = class_maps(model, pictures, audio, prior, lengths=lengths, size=size, precision=self.precision)
        if not torch.isfinite(maps).all():
            raise AvsctlError(f"{checkpoint.path} predicts NaN. Train it again, or choose another checkpoint.")
        return maps


def shrink(picture: np.ndarray, sizes: Iterable[int]) -> dict[int, np.ndarray]:
    """The picture at each size, as in training: Pillow's bilinear, the shape not kept."""
    image = Image.fromarray(picture)
    return {size: np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)) for size in sizes}


def default_prior_form(second: Checkpoint | None) -> str:
    """The form that stage 2 was trained with."""
    return second.run.options.get("prior_form", "hard") if second and second.run else "hard"


def _numbered(count: int) -> list[str]:
    return ["background", *(f"class {index}" for index in range(1, count))]
