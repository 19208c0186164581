"""`avsctl visualize`: what sounds, drawn over a video or over clips of the workspace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from avsctl.caches.clips import SPLITS
from avsctl.cli import _console
from avsctl.cli._options import SEED_RANGE, command, device_options, json_option, overwrite_option
from avsctl.errors import AvsctlError
from avsctl.workspace import Workspace

EXAMPLES = "'avsctl visualize video.mp4', or 'avsctl visualize --split test --clips 8'"


@command("visualize")
@click.argument("video", required=False, type=click.Path(path_type=Path), metavar="[VIDEO]")
@click.option(
    "--split", type=click.Choice([*SPLITS, "all"]),
    help="Draw clips of the workspace instead of a video, beside their ground truth.",
)  # fmt: skip
@click.option("--clips", type=click.IntRange(1), default=8, show_default=True, help="How many clips of the --split.")
@click.option("--subset", default="all", show_default=True, metavar="s4|ms3|v2|all", help="Which clips of the --split.")
@click.option("--seed", type=SEED_RANGE, default=0, show_default=True, help="Which clips are drawn from the --split.")
@click.option(
    "--avs", metavar="RUN|FILE",
    help="Stage 1: a run's name or folder, or a model.safetensors. "
    "[default: the newest trained on all, else the newest]",
)  # fmt: skip
@click.option(
    "--avss", metavar="RUN|FILE",
    help="Stage 2, likewise. [default: the newest that takes a prior, else a single-stage run, else none]",
)  # fmt: skip
@click.option(
    "--prior-form", type=click.Choice(["hard", "soft"]),
    help="Stage 1's masks as 0 or 1, or as probabilities. [default: as stage 2 was trained]",
)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Where results go. [default: visualize in the workspace]")  # fmt: skip
@click.option(
    "--fps", type=click.FloatRange(0.1, 60), default=4.0, show_default=True,
    help="Frames a second that the model sees; masks between them are interpolated.",
)  # fmt: skip
@click.option("--audio-weights", type=click.Path(path_type=Path), metavar="FILE",
              help="Weights of the sound encoder, for models that hear vggish or yamnet.")  # fmt: skip
@click.option("--alpha", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="How much masks cover.")
@device_options
@overwrite_option
@json_option
def command(
    workspace: Workspace,
    video: Path | None,
    split: str | None,
    clips: int,
    subset: str,
    seed: int,
    out: Path | None,
    fps: float,
    as_json: bool,
    **options: Any,
) -> None:
    """Draw the sounding objects over a video, with its sound.

    Writes into --out: NAME-overlay.mp4 (every frame, with class names), NAME-sheet.png (frame, stage-1 prior and
    result for each second), NAME-masks/ (index PNGs of the frames that the model saw) and NAME.json (what sounded
    when). The same work is not done twice.

    With --split, draws clips of the workspace beside their ground truth into --out/clips-SPLIT-….
    """
    if (video is None) == (split is None):
        problem = "Give a video or --split, not both" if video else "Nothing to draw"
        raise click.UsageError(f"{problem}. For example: {EXAMPLES}.")
    given = click.get_current_context().get_parameter_source
    if video is not None:
        _refuse(given, ("clips", "subset", "seed"), "belongs to --split, not to a video")
        from avsctl.stages.visualize_video import visualize_video

        result = visualize_video(workspace, video, out=out, fps=fps, track=_console.track, **options)
    else:
        _refuse(given, ("fps", "audio_weights"), "belongs to a video; clips have a frame and a sound for each second")
        options.pop("audio_weights")
        from avsctl.stages.visualize_clips import visualize_clips

        result = visualize_clips(
            workspace, split, count=clips, subset=subset, seed=seed, out=out, track=_console.track, **options
        )
    _show(result, as_json)


def _refuse(given: Any, names: tuple[str, ...], why: str) -> None:
    for name in names:
        if given(name) is click.core.ParameterSource.COMMANDLINE:
            raise AvsctlError(f"--{name.replace('_', '-')} {why}. Leave it out. For example: {EXAMPLES}.")


def _show(result: Any, as_json: bool) -> None:
    if as_json:
        content = {key: value for key, value in result.content.items() if key != "frames"}
        content |= {"files": [str(path) for path in result.files], "fresh": result.fresh, "summary": result.summary}
        click.echo(json.dumps(content, indent=1))
        return
    lines = [f"note: {note}" for note in result.content["notes"]]
    lines += [str(path) for path in result.files]
    if not result.fresh:
        lines.append("up to date: these were made from the same input, checkpoints and options")
    for line in [*lines, result.summary]:
        _console.out.print(line, markup=False, highlight=False)
