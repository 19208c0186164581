"""What train-avs and train-avss share: their options, and the call."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from avsctl.cli._console import out, track
from avsctl.cli._options import (
    WEIGHTS,
    FloatRange,
    compile_option,
    device_options,
    overwrite_option,
    pixels_option,
    prefetch_option,
    reading_workers_option,
    subset_option,
)
from avsctl.configs import (
    ABLATIONS,
    AUDIO_LOSSES,
    CACHED,
    FROZEN_DROP_PATHS,
    OPTIMIZERS,
    RECIPES,
    S4_FRAMES,
    SCHEDULES,
    auto_preset,
    resolve_training,
)
from avsctl.errors import AvsctlError
from avsctl.workspace import Run, Workspace

POSITIVE = click.IntRange(min=1)
SHARE = FloatRange(0, 1)
_BY_RECIPE = "by preset"
FILE = click.Path(path_type=Path)
PRESETS = list(dict.fromkeys(preset for presets in RECIPES.values() for preset in presets))


WHAT = (
    click.option(
        "--model",
        default="aavs",
        show_default=True,
        metavar=f"{'|'.join(RECIPES)}[-PRESET]",
        help="The network; its name may carry the preset, as tpavi-pvt does.",
    ),
    click.option(
        "--preset",
        type=click.Choice([*PRESETS, "auto"]),
        default="auto",
        show_default=True,
        help="Size and recipe: swin-b-384 (aavs), pvt and r50 (tpavi, avsegformer) are published, tiny trains from "
        "scratch on a CPU; auto takes the published one on a GPU, else tiny.",
    ),
    subset_option(help="Which subset's clips to train on."),
    click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=3407, show_default=True),
    click.option("--name", help="Of the run and its folder. [default: made of model, preset, subset, prior and seed]"),
)
"""What is trained."""

RECIPE = (
    click.option("--epochs", type=POSITIVE, show_default=_BY_RECIPE),
    click.option("--batch-clips", type=POSITIVE, help="Clips in a step, over all processes.", show_default=_BY_RECIPE),
    click.option("--lr", type=FloatRange(0, min_open=True), help="Learning rate (phase 1).", show_default=_BY_RECIPE),
    click.option("--lr-phase2", type=FloatRange(0, min_open=True), help="Rate of phase 2.", show_default=_BY_RECIPE),
    click.option("--weight-decay", type=FloatRange(0), show_default=_BY_RECIPE),
    click.option(
        "--clip-norm",
        type=FloatRange(0),
        help="Largest gradient norm; 0 never clips.",
        show_default=_BY_RECIPE,
    ),
    click.option(
        "--accumulate",
        type=POSITIVE,
        default=1,
        show_default=True,
        help="Compute each process's clips of a step in so many parts, their gradients added up: less memory.",
    ),
    click.option(
        "--skip-nonfinite",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Steps of the run that may be left out because their loss is NaN or infinite.",
    ),
    click.option("--optimizer", type=click.Choice(OPTIMIZERS), show_default=_BY_RECIPE),
    click.option(
        "--schedule",
        type=click.Choice(SCHEDULES),
        show_default=_BY_RECIPE,
        help="two-phase: adapters, then the backbone's too, as Stepping Stones; constant: all weights at one rate, as "
        "AVSBench and AVSegFormer; scratch: all weights, warm-up and cosine.",
    ),
    click.option(
        "--phase1-share", type=SHARE, help="two-phase: share of the epochs in phase 1.", show_default=_BY_RECIPE
    ),
    click.option(
        "--frozen-epochs",
        type=click.IntRange(0),
        help="constant: first epochs that leave the backbone's weights as they are.",
        show_default=_BY_RECIPE,
    ),
    click.option(
        "--freeze-backbone",
        is_flag=True,
        default=None,
        help="Leave the backbone as it is for the whole training, in any schedule.",
    ),
    click.option(
        "--frozen-drop-path",
        type=click.Choice(FROZEN_DROP_PATHS),
        help="Stochastic depth inside the backbone while a phase freezes it: the network's own, as published, or 0. "
        "[default: own]",
    ),
    click.option(
        "--cache-features",
        is_flag=False,
        flag_value="all",
        type=click.Choice(CACHED),
        default="none",
        show_default=True,
        help="Compute a frozen backbone's maps once and read them from then on, for training and validation (all, "
        "which --cache-features alone means) or training only.",
    ),
    click.option(
        "--cache-levels",
        type=click.IntRange(1, 4),
        default=4,
        show_default=True,
        help="How many of the four maps to keep, the coarsest: 3 take half the space, and the finest is computed anew.",
    ),
    click.option(
        "--cache-precision",
        type=click.Choice(["fp16", "fp32"]),
        default="fp16",
        show_default=True,
        help="fp32 takes twice the space and is exact.",
    ),
    click.option(
        "--warmup", type=SHARE, help="scratch: share of the steps with a rising rate.", show_default=_BY_RECIPE
    ),
    click.option("--shuffle/--no-shuffle", default=None, help="Order of the clips.", show_default=_BY_RECIPE),
    click.option(
        "--s4-frames",
        type=click.Choice(S4_FRAMES),
        show_default=_BY_RECIPE,
        help="S4 training clips: repeat the one labelled frame with every second's sound, as Stepping Stones, read it "
        "once, or read all frames, as AVSBench and AVSegFormer.",
    ),
    click.option(
        "--frames-per-clip",
        type=POSITIVE,
        help="At most so many frames of a clip in a step, drawn anew in every epoch.",
        show_default=_BY_RECIPE,
    ),
    click.option(
        "--augment/--no-augment", default=None, help="Random mirror, cut and colours.", show_default=_BY_RECIPE
    ),
    click.option(
        "--validate-every", type=POSITIVE, help="Epochs from one validation to the next. [default: every epoch]"
    ),
)
"""How it is trained; the preset's recipe says what is not given."""

NETWORK = (
    click.option("--image-size", type=POSITIVE, help="Side of the model's input.", show_default=_BY_RECIPE),
    click.option(
        "--pixel-decoder",
        type=click.Choice(["deformable", "fpn"]),
        help="deformable is released, fpn the paper's text.",
        show_default=_BY_RECIPE,
    ),
    click.option(
        "--backbone",
        metavar="NAME",
        help="Any timm network with maps at strides 4, 8, 16, 32.",
        show_default=_BY_RECIPE,
    ),
    click.option("--backbone-weights", type=FILE, metavar="FILE", help="Weights of the backbone under timm's names."),
    click.option(
        "--normalization",
        type=click.Choice(["imagenet", "symmetric"]),
        help="Of the backbone's input: ImageNet's mean and spread, or RGB / 127.5 - 1.",
        show_default=_BY_RECIPE,
    ),
    click.option(
        "--audio-loss",
        type=click.Choice(AUDIO_LOSSES),
        help="tpavi: the distance between sound and features that its second loss takes.",
        show_default=_BY_RECIPE,
    ),
    click.option(
        "--init-from",
        type=WEIGHTS,
        metavar="FILE|DIR|NAME",
        help="A model or a run's folder to start from, or a name of 'avsctl weights list': tensors that fit are taken, "
        "and classes by their names.",
    ),
)
"""The network and its first weights."""

without_option = click.option(
    "--without", multiple=True, type=click.Choice(ABLATIONS), help="Switch a component of aavs off (repeatable)."
)
max_steps_option = click.option("--max-steps", type=POSITIVE, help="Steps in an epoch. [default: all]")

RUN = (
    max_steps_option,
    click.option(
        "--resume",
        is_flag=True,
        help="Refuse to start a run anew. The same command goes on with its unfinished run anyway, exactly.",
    ),
    click.option(
        "--checkpoint-minutes",
        type=FloatRange(0, min_open=True),
        default=10.0,
        show_default=True,
        help="Time between checkpoints in an epoch.",
    ),
    click.option(
        "--log",
        multiple=True,
        type=click.Choice(["tensorboard"]),
        help="Beside log.jsonl, also write TensorBoard's files: the same numbers, and pictures of four validation "
        "clips (needs the extra avsctl[tensorboard]).",
    ),
    reading_workers_option,
    prefetch_option,
    pixels_option,
    device_options,
    compile_option,
    click.option(
        "--deterministic",
        is_flag=True,
        help="Take only operations that give the same bits each time; on a GPU slower, and a warning names those that "
        "have no such form.",
    ),
    overwrite_option,
)
"""How the run goes; none of it changes what is learnt, but for --max-steps and
--precision; --compile and --deterministic move its last bits."""


def training_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a training run."""
    for option in reversed((*WHAT, *RECIPE, *NETWORK, without_option, *RUN)):
        function = option(function)
    return function


def run_training(
    task: str,
    workspace: Workspace,
    *,
    preset: str,
    subset: str,
    device: str,
    resume: bool,
    overwrite: bool,
    workers: int | None,
    prefetch: int | None,
    checkpoint_minutes: float,
    log: tuple[str, ...],
    **given: Any,
) -> None:
    """Resolve the options and train.

    Raises: AvsctlError: If options exclude each other.
    """
    from avsctl.stages.train import train
    from avsctl.training.devices import choose_device, reading_by_device

    if resume and overwrite:
        raise AvsctlError("--resume continues a run and --overwrite deletes it: give one of them.")
    kind = choose_device(device).type
    if preset == "auto":
        preset = auto_preset(given["model"], on_gpu=kind == "cuda")
        out.print(f"preset {preset} (device {kind})")
    for name in ("backbone_weights", "init_from"):
        given[name] = None if given[name] is None else os.fspath(given[name])
    config = resolve_training(task, preset, subset, given)
    folder = train(
        workspace,
        config,
        resume=resume,
        overwrite=overwrite,
        device=device,
        **reading_by_device(device, workers, prefetch),
        checkpoint_minutes=checkpoint_minutes,
        logs=log,
        track=track,
    )
    best = Run(folder).record["best"]
    out.print(
        f"{folder}: best validation mIoU {best['miou']:.4f}, F-score {best['f_score']:.4f} (epoch {best['epoch']})"
    )
