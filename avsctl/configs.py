"""The settings of training as frozen dataclasses, and the published recipes as named instances."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from avsctl.errors import AvsctlError
from avsctl_models.presets import list_presets, split_name

LABEL_SIZE = 224
"""Side of the label maps and of every score: AVSBench evaluates at 224 x 224."""

PRIORS = ("oracle", "predicted", "low", "high", "none")
"""What stage 2 may be given; any other value is a prior cache's name or file."""

LEVELS = {"low": 0.55, "high": 0.75}
"""The mIoU of simulated priors that have a name."""

ABLATIONS = ("adaptive-query", "masked-attention", "mask-fusion", "mask-initialization", "robust-keys")
"""The paper's components that can be switched off; without adaptive-query the audio is repeated over all queries."""

SCHEDULES = ("two-phase", "constant", "scratch")
OPTIMIZERS = ("adamw", "adam")
FROZEN_DROP_PATHS = ("own", "0")
CACHED = ("none", "train", "all")
S4_FRAMES = ("repeat", "labelled", "all")
AUDIO_LOSSES = ("kl", "euclid", "cosine", "none")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a training run learns; a run records it as `config.json`.

    Args:
        task: `avs` (stage 1) or `avss` (stage 2).
        name: of the run; None makes one of the options, see `run_name`.
        prior: what stage 2 sees in training: one of `PRIORS`, or a prior cache's name or file.
        prior_form: `hard` (0 or 1, as released) or `soft` (probabilities).
        binary_labels: how stage 1's labels are resized: `bilinear` (released: then > 0, borders grow) or `nearest`.
        image_size: side of the model's input; None is the preset's own.
        audio_loss: distance between sound and features in TPAVI's second loss, `none` for no such loss; None is the
            preset's own.
        without: switched-off components, of `ABLATIONS`.
        batch_clips: clips in a step, over all processes.
        optimizer: of `OPTIMIZERS`.
        schedule: `two-phase` is that of Stepping Stones: adapters and queries at `lr`, then, from the best epoch so
            far, the backbone's adapters too at `lr_phase2`. `constant` is that of AVSBench and AVSegFormer: all
            weights at `lr`, but for the backbone's in the first `frozen_epochs`. `scratch` trains all weights with
            warm-up and cosine decay.
        phase1_share: share of the epochs in phase 1 (`two-phase` only).
        frozen_epochs: epochs that leave the backbone's weights as they are; batch norms in it still count
            (`constant` only).
        freeze_backbone: the backbone's weights, and its batch norms, stay as they are for the whole training.
        frozen_drop_path: stochastic depth inside the backbone while it is frozen for a phase: `own` is that of the
            network, as the published models were trained, `0` switches it off.
        cache_features: of which frames a frozen backbone's maps are computed once and read from then on: `none`,
            `train` or `all`, validation too. The backbone is then in evaluation mode wherever it is frozen.
        cache_levels: how many of the four maps are kept, the coarsest; finer ones are computed each time.
        cache_precision: `fp16`, or `fp32`, twice the size and exact.
        clip_norm: largest gradient norm, None or 0 for no clipping.
        shuffle: clips in an order drawn anew in every epoch, else in file order.
        s4_frames: S4's training clips are labelled in their first frame. `repeat` reads that frame five times with
            the five seconds of sound, `labelled` reads it once, `all` reads all five frames, the loss being that of
            the first.
        frames_per_clip: at most so many frames of a clip in a step, drawn anew in every epoch; None takes all.
        augment: train on random views (mirror, cut, colours) of the clips.
        warmup: share of all steps with a rising rate (`scratch` only).
        validate_every: epochs from one validation to the next; the last epoch is always validated.
        accumulate: parts in which each process computes its clips of a step, one after the other; their gradients, like
            those of processes, add up to those of the whole step.
        skip_nonfinite: steps of the run that may be left out because their loss is no number.
        max_steps: stop each epoch after so many steps, None for all.
        deterministic: take only operations that give the same bits each time.
        compile: let `torch.compile` make the network's parts; sums are rounded in another order.
    """

    task: str
    model: str = "aavs"
    preset: str = "tiny"
    name: str | None = None
    subset: str = "all"
    prior: str = "none"
    prior_form: str = "hard"
    seed: int = 3407
    binary_labels: str = "bilinear"
    image_size: int | None = None
    pixel_decoder: str | None = None
    backbone: str | None = None
    backbone_weights: str | None = None
    normalization: str | None = None
    audio_loss: str | None = None
    init_from: str | None = None
    without: tuple[str, ...] = ()
    epochs: int = 1
    batch_clips: int = 1
    optimizer: str = "adamw"
    schedule: str = "scratch"
    lr: float = 1e-3
    lr_phase2: float = 1e-4
    weight_decay: float = 0.05
    phase1_share: float = 0.5
    frozen_epochs: int = 0
    freeze_backbone: bool = False
    frozen_drop_path: str = "own"
    cache_features: str = "none"
    cache_levels: int = 4
    cache_precision: str = "fp16"
    clip_norm: float | None = None
    shuffle: bool = True
    s4_frames: str = "labelled"
    frames_per_clip: int | None = None
    augment: bool = False
    warmup: float = 0.0
    validate_every: int = 1
    accumulate: int = 1
    skip_nonfinite: int = 0
    max_steps: int | None = None
    precision: str = "fp32"
    deterministic: bool = False
    compile: bool = False

    @property
    def run_name(self) -> str:
        """The chosen name, else `<model>-<preset>-<subset>-<prior>-s<seed>` and every switched-off component."""
        if self.name:
            return self.name
        prior = "file" if "/" in self.prior or self.prior.endswith(".h5") else self.prior
        without = "".join(f"-no-{name}" for name in self.without)
        return f"{self.model}-{self.preset}-{self.subset}-{prior}-s{self.seed}{without}"

    def to_json(self) -> dict[str, Any]:
        """The options as `--config` reads them back."""
        content = {**asdict(self), "command": f"train-{self.task}", "without": list(self.without)}
        del content["task"]
        if self.task == "avs":
            # Stage 1 has no prior; its run is still named "none".
            del content["prior"], content["prior_form"]
        else:
            del content["binary_labels"]
        return content


@dataclass(frozen=True)
class Recipe:
    """How a preset is trained: fields of `TrainConfig` by name, in layers that lie over each other.

    Args:
        always: for every task and subset.
        tasks, subsets: over it, by task, then by subset.
        both: over these, by `<task>/<subset>`.
    """

    always: Mapping[str, Any]
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    subsets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    both: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def options(self, task: str, subset: str) -> dict[str, Any]:
        """What the recipe says of a task on a subset."""
        layers = (self.tasks.get(task), self.subsets.get(subset), self.both.get(f"{task}/{subset}"))
        return dict(self.always) | {name: value for layer in layers if layer for name, value in layer.items()}


# The paper's lengths; the rest as in the released code.
_STEPPING_STONES = Recipe(
    always={
        "schedule": "two-phase",
        "epochs": 30,
        "batch_clips": 1,
        "lr": 1e-3,
        "lr_phase2": 1e-4,
        "weight_decay": 0.05,
        "s4_frames": "repeat",
    },
    tasks={
        "avs": {"phase1_share": 1 / 2, "clip_norm": 0.01, "shuffle": True},
        # The released stage 2 reads its clips in file order.
        "avss": {"phase1_share": 1 / 3, "clip_norm": None, "shuffle": False},
    },
    subsets={"ms3": {"epochs": 50}},
)
# Stage 1 is published for S4 and MS3 only; on other clips it is trained as on S4.
_AVSBENCH = Recipe(
    always={
        "schedule": "constant",
        "optimizer": "adam",
        "batch_clips": 4,
        "lr": 1e-4,
        "weight_decay": 0.0,
        "s4_frames": "all",
    },
    tasks={"avs": {"epochs": 15}, "avss": {"epochs": 60}},
    both={"avs/ms3": {"epochs": 30, "audio_loss": "kl"}},
)
_AVSEGFORMER = Recipe(
    always={
        "schedule": "constant",
        "epochs": 30,
        "lr": 2e-5,
        "weight_decay": 0.01,
        # It looks at every frame alone; those without a label would only feed the batch norms.
        "s4_frames": "all",
    },
    tasks={"avs": {"batch_clips": 2, "frozen_epochs": 5}, "avss": {"batch_clips": 4, "frozen_epochs": 0}},
    both={"avs/ms3": {"epochs": 60, "frozen_epochs": 10}},
)
_SCRATCH = {
    "schedule": "scratch",
    "epochs": 24,
    "batch_clips": 8,
    "lr": 1e-3,
    "weight_decay": 0.05,
    "clip_norm": 1.0,
    "warmup": 0.05,
}
_SCRATCH_TASKS = {
    # In so few epochs random views delay hearing, which stage 1 must learn; naming gains from them.
    "avs": {"augment": False},
    "avss": {"augment": True},
}
_SCRATCH_SUBSETS = {subset: {"epochs": 60} for subset in ("s4", "ms3", "v2")}
_TINY = Recipe({**_SCRATCH, "s4_frames": "labelled", "frames_per_clip": 2}, _SCRATCH_TASKS, _SCRATCH_SUBSETS)
# Its windows of five frames are the same in training as later.
_TINY_WINDOWS = Recipe({**_SCRATCH, "s4_frames": "all"}, _SCRATCH_TASKS, _SCRATCH_SUBSETS)

RECIPES: dict[str, dict[str, Recipe]] = {
    "aavs": {"swin-b-384": _STEPPING_STONES, "tiny": _TINY},
    "tpavi": {"pvt": _AVSBENCH, "r50": _AVSBENCH, "tiny": _TINY_WINDOWS},
    "avsegformer": {"pvt": _AVSEGFORMER, "r50": _AVSEGFORMER, "tiny": _TINY},
}
"""By model and preset, the published preset first."""


def auto_preset(model: str, *, on_gpu: bool) -> str:
    """The preset of a model where none is chosen: the one its name carries, else the published one on a GPU, else tiny.

    Raises: AvsctlError: If there is no such model.
    """
    name, carried = split_model(model, None)
    return carried or (list_presets(name)[0] if on_gpu else "tiny")


def resolve_training(task: str, preset: str | None, subset: str, given: Mapping[str, Any]) -> TrainConfig:
    """Fill what was not given from the recipe of the model and preset.

    Args:
        preset: None takes the one that the model's name carries, else `tiny`.
        given: options by field name; None means not given. `model` may carry its preset, as `tpavi-pvt` does.
    Raises: AvsctlError: If there is no such model or preset, or the run's name can't be a folder's.
    """
    model, chosen = split_model(given.get("model") or TrainConfig.model, preset)
    chosen = chosen or "tiny"
    names = {entry.name for entry in fields(TrainConfig)}
    options = {name: value for name, value in given.items() if name in names and value is not None}
    if not re.fullmatch(r"[\w.-]{1,120}", options.get("name", "-"), re.ASCII) or options.get("name", "-")[0] == ".":
        raise AvsctlError(
            f"--name {options['name']} can't name a run's folder: use up to 120 letters, digits, '-', '_' and '.', "
            f"not '.' first."
        )
    base = TrainConfig(task, **RECIPES[model][chosen].options(task, subset))
    config = replace(base, **{**options, "model": model, "preset": chosen, "subset": subset})
    _check_cached(config)
    return config


def _check_cached(config: TrainConfig) -> None:
    if config.cache_features == "none":
        return
    if config.augment:
        raise AvsctlError("--cache-features keeps maps of the frames as they are: add --no-augment, or leave it out.")
    if not (config.freeze_backbone or config.schedule == "two-phase" or config.frozen_epochs):
        raise AvsctlError("--cache-features needs a backbone that doesn't change: add --freeze-backbone.")


def split_model(model: str, preset: str | None) -> tuple[str, str | None]:
    """A model's name, which may carry its preset, and its preset, None where neither says one.

    Raises: AvsctlError: If there is no such model or preset, or the two presets differ.
    """
    try:
        return split_name(model, preset)
    except ValueError as error:
        raise AvsctlError(f"{error}. Choose another --model or --preset.") from None
