"""The settings of training as frozen dataclasses, and the published recipes as named instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from avsctl.errors import AvsctlError

LABEL_SIZE = 224
"""Side of the label maps and of every score: AVSBench evaluates at 224 x 224."""

PRIORS = ("oracle", "predicted", "low", "high", "none")
"""What stage 2 may be given; any other value is a prior cache's name or file."""

LEVELS = {"low": 0.55, "high": 0.75}
"""The mIoU of simulated priors that have a name."""

ABLATIONS = ("adaptive-query", "masked-attention", "mask-fusion", "mask-initialization", "robust-keys")
"""The paper's components that can be switched off; without adaptive-query the audio is repeated over all queries."""


@dataclass(frozen=True)
class Recipe:
    """How a preset is trained.

    Args:
        schedule: `two-phase` is the released one: adapters and queries at `lr`, then, from the best epoch so far,
            the backbone's adapters too at `lr_phase2`. `scratch` trains all weights with warm-up and cosine decay.
        epochs: by subset.
        batch_clips: clips in a step.
        phase1_share: share of the epochs in phase 1, by task (released code: 1/2 and 1/3).
        clip_norm: largest gradient norm by task, None for no clipping (released code: 0.01 and none).
        shuffle: by task; the released stage 2 reads its clips in file order.
        s4_frames: S4's training clips are labelled in their first frame. `repeat` reads that frame five times with
            the five seconds of sound, as released; `labelled` reads it once.
        frames_per_clip: at most so many frames of a clip in a step, drawn anew in every epoch; None takes all.
        augment: by task; train on random views (mirror, cut, colours) of the clips. The released code does not.
        warmup: share of all steps with a rising rate (`scratch` only).
    """

    schedule: str = "two-phase"
    epochs: Mapping[str, int] = field(default_factory=lambda: {"s4": 30, "ms3": 50, "v2": 30, "all": 30})
    batch_clips: int = 1
    lr: float = 1e-3
    lr_phase2: float = 1e-4
    weight_decay: float = 0.05
    phase1_share: Mapping[str, float] = field(default_factory=lambda: {"avs": 1 / 2, "avss": 1 / 3})
    clip_norm: Mapping[str, float | None] = field(default_factory=lambda: {"avs": 0.01, "avss": None})
    shuffle: Mapping[str, bool] = field(default_factory=lambda: {"avs": True, "avss": False})
    s4_frames: str = "repeat"
    frames_per_clip: int | None = None
    augment: Mapping[str, bool] = field(default_factory=lambda: {"avs": False, "avss": False})
    warmup: float = 0.0


RECIPES = {
    "swin-b-384": Recipe(),
    "tiny": Recipe(
        schedule="scratch",
        epochs={"s4": 60, "ms3": 60, "v2": 60, "all": 24},
        batch_clips=8,
        lr=1e-3,
        weight_decay=0.05,
        clip_norm={"avs": 1.0, "avss": 1.0},
        shuffle={"avs": True, "avss": True},
        s4_frames="labelled",
        frames_per_clip=2,
        # In so few epochs random views delay hearing, which stage 1 must learn; naming gains from them.
        augment={"avs": False, "avss": True},
        warmup=0.05,
    ),
}


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a training run learns; a run records it as `config.json`.

    Args:
        task: `avs` (stage 1) or `avss` (stage 2).
        prior: what stage 2 sees in training: one of `PRIORS`, or a prior cache's name or file.
        prior_form: `hard` (0 or 1, as released) or `soft` (probabilities).
        binary_labels: how stage 1's labels are resized: `bilinear` (released: then > 0, borders grow) or `nearest`.
        image_size: side of the model's input; None is the preset's own.
        without: switched-off components, of `ABLATIONS`.
        max_steps: stop each epoch after so many steps, None for all.
    """

    task: str
    model: str = "aavs"
    preset: str = "tiny"
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
    init_from: str | None = None
    without: tuple[str, ...] = ()
    epochs: int = 1
    batch_clips: int = 1
    schedule: str = "scratch"
    lr: float = 1e-3
    lr_phase2: float = 1e-4
    weight_decay: float = 0.05
    phase1_share: float = 0.5
    clip_norm: float | None = None
    shuffle: bool = True
    s4_frames: str = "labelled"
    frames_per_clip: int | None = None
    augment: bool = False
    warmup: float = 0.0
    max_steps: int | None = None
    precision: str = "fp32"

    @property
    def run_name(self) -> str:
        """`<model>-<preset>-<subset>-<prior>-s<seed>`, with every switched-off component named."""
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


def resolve_training(task: str, preset: str, subset: str, given: Mapping[str, Any]) -> TrainConfig:
    """Fill what was not given from the preset's recipe.

    Args:
        given: options by field name; None means not given.
    Raises: AvsctlError: If the preset has no recipe.
    """
    if preset not in RECIPES:
        raise AvsctlError(f"No preset {preset}. Choose one of {', '.join(RECIPES)}.")
    recipe = RECIPES[preset]
    by_task = {name: getattr(recipe, name)[task] for name in ("phase1_share", "clip_norm", "shuffle", "augment")}
    plain = ("schedule", "batch_clips", "lr", "lr_phase2", "weight_decay", "s4_frames", "frames_per_clip", "warmup")
    epochs = recipe.epochs.get(subset, recipe.epochs["all"])
    base = TrainConfig(task=task, preset=preset, subset=subset, epochs=epochs, **by_task)
    base = replace(base, **{name: getattr(recipe, name) for name in plain})
    names = {entry.name for entry in fields(TrainConfig)}
    return replace(base, **{name: value for name, value in given.items() if name in names and value is not None})
