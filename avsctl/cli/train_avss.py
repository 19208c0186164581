"""`avsctl train-avss`."""

from __future__ import annotations

from typing import Any

import click

from avsctl.cli._options import command
from avsctl.cli._training import run_training, training_options
from avsctl.workspace import Workspace


@command("train-avss", spreads=True)
@training_options
@click.option(
    "--prior", default="oracle", show_default=True, metavar="oracle|predicted|low|high|none|FILE",
    help="What stage 2 sees in training. oracle is the ground truth, as in the paper; none is the single-stage model.",
)  # fmt: skip
@click.option(
    "--prior-form", type=click.Choice(["hard", "soft"]), default="hard", show_default=True,
    help="A cached prior as 0 or 1, as released, or as probabilities.",
)  # fmt: skip
def command(workspace: Workspace, **options: Any) -> None:
    """Train stage 2: what sounds, given a prior.

    Learns semantic masks from frames, sound and the prior (the stepping stone). The run lands in
    runs/avss/NAME, by default <model>-<preset>-<subset>-<prior>-s<seed>.
    """
    run_training("avss", workspace, **options)
