"""`avsctl extract-audio`."""

from __future__ import annotations

from pathlib import Path

import click

from avsctl.caches.shares import Share
from avsctl.cli._console import out, track
from avsctl.cli._options import (
    WEIGHTS,
    check_repair,
    command,
    overwrite_option,
    repair_option,
    share_option,
    workers_option,
)
from avsctl.workspace import Workspace
from avsctl_models.audio.encoders import ENCODERS


@command("extract-audio")
@click.option(
    "--encoder",
    type=click.Choice(ENCODERS),
    default=None,
    help="vggish (128 numbers, what the papers use), logmel (128, needs no weights) or yamnet (1024). "
    "[default: vggish with --weights, else logmel]",
)
@click.option(
    "--weights",
    type=WEIGHTS,
    metavar="FILE|NAME",
    help="The encoder's released weights (.pth, .safetensors), or a name of 'avsctl weights list'.",
)
@click.option(
    "--pca",
    type=WEIGHTS,
    metavar="FILE|NAME",
    help="VGGish's PCA parameters: post-process as torch.hub's VGGish does. No released AVS model uses it.",
)
@click.option(
    "--out", "target", type=click.Path(path_type=Path), metavar="FILE", help="Cache to write. [default: audio.h5]"
)
@share_option
@workers_option
@overwrite_option
@repair_option
def command(
    workspace: Workspace,
    encoder: str | None,
    weights: Path | None,
    pca: Path | None,
    target: Path | None,
    share: Share | None,
    workers: int | None,
    overwrite: bool,
    repair: bool,
):
    """Compute one audio embedding per frame into audio.h5.

    Any sample rate, mono or more channels. A clip shorter than its frames repeats its last embedding; sound after the
    last frame is left out. VGGish is kept before its last ReLU, unless --pca asks for its post-processing.
    """
    from avsctl.caches.audio import AudioCache
    from avsctl.stages.extract_audio import extract_audio

    check_repair(repair, overwrite)
    chosen = encoder or ("vggish" if weights else "logmel")
    path = extract_audio(
        workspace.clips,
        target or workspace.audio,
        encoder_name=chosen,
        weights=weights,
        pca=pca,
        share=share,
        overwrite=overwrite,
        repair=repair,
        workers=workers,
        track=track,
    )
    cache = AudioCache(path)
    out.print(f"{path}: {cache.encoder}, {cache.dim} numbers for each of {cache.rows} frames")
