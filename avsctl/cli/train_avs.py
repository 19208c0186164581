"""`avsctl train-avs`."""

from __future__ import annotations

from typing import Any

import click

from avsctl.cli._options import command
from avsctl.cli._training import run_training, training_options
from avsctl.workspace import Workspace


@command("train-avs", spreads=True)
@training_options
@click.option(
    "--binary-labels", type=click.Choice(["bilinear", "nearest"]), default="bilinear", show_default=True,
    help="How labels shrink: bilinear is released (borders grow), nearest keeps them.",
)  # fmt: skip
def command(workspace: Workspace, **options: Any) -> None:
    """Train stage 1: where does the sound come from?

    Learns one binary mask per frame from frames and sound. The run lands in
    runs/avs/NAME, by default <model>-<preset>-<subset>-none-s<seed>.
    """
    run_training("avs", workspace, **options)
