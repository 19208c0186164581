"""`avsctl visualize`: what sounds, drawn over a video or over clips of the workspace."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from avsctl.caches.clips import SPLITS
from avsctl.cli import _console
from avsctl.cli._options import (
    SEED_RANGE,
    WEIGHTS,
    FloatRange,
    command,
    compile_option,
    device_options,
    json_option,
    overwrite_option,
    pixels_option,
    prefetch_of,
)
from avsctl.errors import AvsctlError
from avsctl.workspace import Workspace

EXAMPLES = "'avsctl visualize video.mp4', or 'avsctl visualize --split test --clips 8'"
VIDEO_ONLY = ("fps", "audio_weights", "start", "end", "transparent")
CLIPS_ONLY = ("clips", "subset", "seed")


class Seconds(click.ParamType):
    """Seconds, or hours, minutes and seconds with colons: 90, 1:30, 0:01:30.5."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number of seconds."""
        if isinstance(value, (int, float)):
            return float(value)
        parts = value.split(":")
        try:
            numbers = [float(part) for part in parts]
        except ValueError:
            numbers = []
        if not 1 <= len(numbers) <= 3 or not all(math.isfinite(number) and number >= 0 for number in numbers):
            self.fail(f"{value!r} is no time: write seconds or minutes:seconds, as 90 or 1:30", param, ctx)
        return sum(number * 60**place for place, number in enumerate(reversed(numbers)))


@command("visualize")
@click.argument("videos", nargs=-1, type=click.Path(path_type=Path), metavar="[VIDEO]...")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Where results go. [default: visualize in the workspace]")  # fmt: skip
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
    "--compare", multiple=True, metavar="[LABEL=]RUN",
    help="Show this run (of either stage) in a column of its own; repeat for each column.",
)  # fmt: skip
@click.option(
    "--prior-form", type=click.Choice(["hard", "soft"]),
    help="Stage 1's masks as 0 or 1, or as probabilities. [default: as stage 2 was trained]",
)  # fmt: skip
@click.option("--classes", metavar="NAME,NAME", callback=lambda ctx, option, value: _names(value),
              help="Show only these classes. With --split: clips that have one of them.")  # fmt: skip
@click.option("--only", type=click.Choice(["stills", "video"]),
              help="Only the sheet, timeline and masks, or only the video; the JSON always.")  # fmt: skip
@click.option("--alpha", type=FloatRange(0, 1), default=0.5, show_default=True, help="How much masks cover.")
@click.option("--start", type=Seconds(), default=0.0, help="Where in the videos to begin: 90 or 1:30.")
@click.option("--end", type=Seconds(), help="Where to stop. [default: the end]")
@click.option(
    "--fps", type=FloatRange(0.1, 60), default=4.0, show_default=True,
    help="Frames a second that the model sees; masks between them are interpolated.",
)  # fmt: skip
@click.option(
    "--transparent", is_flag=True,
    help="Also NAME-overlay.webm: masks and names alone on a transparent ground (VP9 with alpha).",
)  # fmt: skip
@click.option("--audio-weights", type=WEIGHTS, metavar="FILE|NAME",
              help="Weights of the sound encoder, for models that hear vggish or yamnet.")  # fmt: skip
@click.option(
    "--split", type=click.Choice([*SPLITS, "all"]),
    help="Draw clips of the workspace instead of videos, beside their ground truth.",
)  # fmt: skip
@click.option("--clips", type=click.IntRange(1), default=8, show_default=True, help="How many clips of the --split.")
@click.option("--subset", default="all", show_default=True, metavar="s4|ms3|v2|all", help="Which clips of the --split.")
@click.option("--seed", type=SEED_RANGE, default=0, show_default=True, help="Which clips are drawn from the --split.")
@pixels_option
@device_options
@compile_option
@prefetch_of("How many batches and frames (with --split, clips) threads read, see and draw ahead; 0 does one thing "
             "after the other.")  # fmt: skip
@overwrite_option
@json_option
def command(
    workspace: Workspace,
    videos: tuple[Path, ...],
    split: str | None,
    clips: int,
    subset: str,
    seed: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Draw the sounding objects over videos, with their sound.

    A VIDEO is a file, a folder, or a pattern such as 'videos/*.mp4'. For each, --out gets NAME-overlay.mp4 (every
    frame, with class names), NAME-sheet.png (frame, stage-1 prior and result for each second), NAME-timeline.png
    (what sounds when), NAME-masks/ (index PNGs of the frames that the model saw) and NAME.json. The same work is not
    done twice. Of several videos, those that can't be used are listed at the end, with exit code 1.

    With --compare, the same frames through several runs side by side: NAME-compare.mp4, -sheet.png, -timeline.png
    and .json. With --split, clips of the workspace beside their ground truth, in --out/clips-SPLIT-… or
    --out/compare-SPLIT-….
    """
    if videos and split is not None:
        raise click.UsageError(f"Give videos or --split, not both. For example: {EXAMPLES}.")
    if split is None:
        if not videos:
            raise click.UsageError(f"Nothing to draw. For example: {EXAMPLES}.")
        _refuse(CLIPS_ONLY, "belongs to --split, not to a video")
        _draw_videos(workspace, videos, as_json, options)
        return
    _refuse(VIDEO_ONLY, "belongs to a video; clips have a frame and a sound for each second")
    from avsctl.stages.visualize_clips import visualize_clips

    given = {name: value for name, value in options.items() if name not in VIDEO_ONLY}
    result = visualize_clips(workspace, split, count=clips, subset=subset, seed=seed, track=_console.track, **given)
    if as_json:
        click.echo(json.dumps(_content(result), indent=1))
    else:
        _show(result)


def _draw_videos(workspace: Workspace, videos: tuple[Path, ...], as_json: bool, options: dict[str, Any]) -> None:
    from avsctl.stages.visualize_videos import visualize_videos

    shown: Callable[[Any], None] = (lambda result: None) if as_json else _show
    gallery = visualize_videos(workspace, videos, track=_console.track, done=shown, **options)
    one_file = len(videos) == 1 and len(gallery.failed) == 1 and not gallery.drawn
    if one_file and not videos[0].is_dir() and gallery.failed[0].path == videos[0]:
        raise AvsctlError(gallery.failed[0].reason)
    if as_json:
        failed = [{"path": str(failure.path), "reason": failure.reason} for failure in gallery.failed]
        click.echo(json.dumps({"videos": [_content(result) for result in gallery.drawn], "failed": failed}, indent=1))
    _console.exit_with_failures(gallery.failed, len(gallery.failed) + len(gallery.drawn), "videos could not be drawn")


def _names(value: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in (value or "").split(",") if name.strip()))


def _refuse(names: tuple[str, ...], why: str) -> None:
    source = click.get_current_context().get_parameter_source
    for name in names:
        if source(name) is click.core.ParameterSource.COMMANDLINE:
            raise AvsctlError(f"--{name.replace('_', '-')} {why}. Leave it out. For example: {EXAMPLES}.")


def _content(result: Any) -> dict[str, Any]:
    content = {key: value for key, value in result.content.items() if key != "frames"}
    if "runs" in content:
        content["runs"] = [{key: value for key, value in run.items() if key != "frames"} for run in content["runs"]]
    return content | {"files": [str(path) for path in result.files], "fresh": result.fresh, "summary": result.summary}


def _show(result: Any) -> None:
    lines = [f"note: {note}" for note in result.content["notes"]]
    lines += [str(path) for path in result.files]
    if not result.fresh:
        lines.append("up to date: these were made from the same input, checkpoints and options")
    for line in [*lines, result.summary]:
        _console.out.print(line, markup=False, highlight=False)
