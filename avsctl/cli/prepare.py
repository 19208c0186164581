"""`avsctl prepare`: a dataset, or a drawn one, into clips.h5."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from avsctl.caches.clips import SPLITS, ClipCache
from avsctl.caches.decoded import MAX_SIDE
from avsctl.caches.files import read_json
from avsctl.caches.shares import Share
from avsctl.cli import _options
from avsctl.cli._check import show_check
from avsctl.cli._console import err, exit_with_failures, out, track
from avsctl.data.check import check as inspect
from avsctl.data.layouts import ROOT_VARIABLE, SYNTHETIC_FOLDER, WELL_KNOWN, Dataset, find_avsbench, open_dataset
from avsctl.errors import AvsctlError
from avsctl.workspace import Workspace


@click.group("prepare")
def command() -> None:
    """Read a dataset or videos, or render a synthetic dataset, into clips.h5.

    A rerun continues where it stopped; when nothing changed it does nothing. A broken, missing or short file stops
    the run with its path.
    """


_cache_size_option = click.option(
    "--cache-size",
    type=click.IntRange(1, MAX_SIDE),
    metavar="SIDE",
    help="Also keep every frame decoded at a model's size (384 for swin-b-384): reading is several times faster, the "
    "file larger by 3 x SIDE x SIDE bytes a frame. The sizes are said first.",
)


def _reading_options(function: Any) -> Any:
    for option in (
        _options.json_option,
        _options.workers_option,
        _options.overwrite_option,
        _options.repair_option,
        _options.pixels_option,
        _cache_size_option,
        _options.share_option,
        click.option(
            "--skip-broken", is_flag=True, help="Leave clips with broken files out and list them in clips.skipped.json."
        ),
        _options.subset_option(),
        click.option(
            "--check",
            is_flag=True,
            help="Only inspect: counts, broken files, stray labels, videos in two splits. "
            "Exit 0 where prepare would succeed, else 2.",
        ),
    ):
        function = option(function)
    return function


@_options.command("avsbench")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help=f"The dataset. Default: ${ROOT_VARIABLE}, else {', '.join(WELL_KNOWN)} in the workspace.",
)
@_reading_options
def avsbench(workspace: Workspace, root: Path | None, **options: Any) -> None:
    """Read AVSBench-semantic or AVSBench-object, found by looking at the folder."""
    _read(find_avsbench(workspace.root, root), workspace, **options)


@_options.command("folder")
@click.argument("root", type=click.Path(path_type=Path), metavar="ROOT")
@click.option(
    "--coco",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A COCO file with the masks (polygons or run lengths), instead of labels folders; needs avsctl[coco].",
)
@_reading_options
def folder(workspace: Workspace, root: Path, coco: Path | None, **options: Any) -> None:
    """Read one's own clips and classes.

    \b
    ROOT/clips.csv                    uid,split,subset,labelled_frames
    ROOT/classes.json                 ["background", "kettle", ...]
    ROOT/<uid>/frames/0.jpg 1.jpg     one picture per second
    ROOT/<uid>/audio.wav
    ROOT/<uid>.mp4                    or a video instead of frames and audio.wav
    ROOT/<uid>/labels/0.png           class indices of a second's picture

    split is train, val or test; labelled_frames is all, none, or frame numbers with spaces between them (without this
    column, the frames with a label). A column video, where there is one, names the source video.
    """
    _read(open_dataset(root, command="avsctl prepare folder", coco=coco), workspace, **options)


class Cut(click.ParamType):
    """Seconds of a clip, or `whole`, which gives None."""

    name = "SECONDS|whole"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """A whole number above 0, or `whole`."""
        if value == "whole" or isinstance(value, int):
            return value
        if not value.isdigit() or int(value) < 1:
            self.fail(f"{value!r} is neither a whole number of seconds nor 'whole'", param, ctx)
        return int(value)


@_options.command("videos")
@click.argument("videos", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR|VIDEO...")
@click.option(
    "--out",
    "target",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where the clips go. Default: clips in the workspace.",
)
@click.option(
    "--cut", type=Cut(), default="10", show_default=True, metavar="SECONDS|whole",
    help="Length of a clip; AVSBench's are 5 and 10 s. whole makes each video one clip.",
)  # fmt: skip
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True, help="Of the new clips.")
@click.option("--subset", default="videos", show_default=True, metavar="NAME", help="Of the new clips.")
@_cache_size_option
@_options.overwrite_option
@_options.repair_option
@_options.workers_option
@_options.json_option
def videos(
    workspace: Workspace,
    videos: tuple[Path, ...],
    target: Path | None,
    cut: int | str,
    split: str,
    subset: str,
    overwrite: bool,
    **options: Any,
) -> None:
    """Cut videos into clips without labels, one picture and one second of sound per second, and read them.

    The clips lie in --out in the layout of 'prepare folder': add labels there to train on them. Rows of its clips.csv
    stay as they are when more videos come. Videos that can't be read are listed at the end, with exit code 1.
    """
    from avsctl.data.tables import row_problem
    from avsctl.stages.cut_videos import cut_videos

    row = {"subset": subset, "split": split}
    problem = "all means every subset" if subset == "all" else row_problem(row, ("subset",))
    if problem:
        raise AvsctlError(f"--subset {subset}: {problem}. Choose another name.")
    root = target or workspace.root / "clips"
    length = None if cut == "whole" else int(cut)
    made = cut_videos(videos, root, length=length, subset=subset, split=split, overwrite=overwrite, track=track)
    dataset = open_dataset(root, command="avsctl prepare folder")
    _read(dataset, workspace, overwrite=overwrite, **options)
    exit_with_failures(made.failed, len(made.failed) + len(made.new) + len(made.kept), "videos could not be read")


@_options.command("synthetic")
@click.option(
    "--out",
    "target",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help=f"Where to draw the dataset. Default: {SYNTHETIC_FOLDER} in the workspace, where 'prepare avsbench' looks.",
)
@click.option("--clips", type=click.IntRange(min=1), help="About how many clips in all. Default: 528.")
@click.option("--size", type=click.IntRange(32, 2048), default=160, show_default=True, help="Side of a frame.")
@_options.seed_option
@_cache_size_option
@_options.overwrite_option
@_options.repair_option
@_options.workers_option
@_options.json_option
def synthetic(
    workspace: Workspace,
    target: Path | None,
    clips: int | None,
    size: int,
    seed: int,
    workers: int | None,
    **options: Any,
) -> None:
    """Draw a small world of things that sound, in AVSBench-semantic's layout, and read it.

    Clips with one source, with several sources and silent objects, and of ten seconds with sources that start and
    stop; the labels follow the sound. A finished folder is kept, a half-finished one is continued.
    """
    from avsctl.data.synthetic.generate import DEFAULT_COUNTS, generate, scaled_counts
    from avsctl.data.workers import cores

    root = target or workspace.root / SYNTHETIC_FOLDER
    counts = DEFAULT_COUNTS if clips is None else scaled_counts(clips / sum(DEFAULT_COUNTS.values()))
    processes = max(1, cores() if workers is None else workers)
    generate(
        root,
        clips=counts,
        seed=seed,
        size=size,
        workers=processes,
        track=track,
    )
    _read(open_dataset(root), workspace, workers=workers, **options)


for _subcommand in (avsbench, synthetic, folder, videos):
    command.add_command(_subcommand)


def _read(
    dataset: Dataset,
    workspace: Workspace,
    *,
    as_json: bool,
    workers: int | None,
    overwrite: bool,
    repair: bool,
    cache_size: int | None,
    subset: str = "all",
    skip_broken: bool = False,
    check: bool = False,
    share: Share | None = None,
) -> None:
    from avsctl.stages.prepare import prepare, skipped_list

    _options.check_repair(repair, overwrite)
    if check and share is not None:
        raise AvsctlError("--check inspects the whole dataset: leave out --shard.")
    err.print(f"found {dataset.name} in {dataset.root}", markup=False, highlight=False)
    if check:
        report = inspect(dataset, subset=subset, workers=workers, track=track)
        show_check(report, as_json, skip_broken=skip_broken)
        return
    path = prepare(
        dataset,
        workspace.clips,
        subset=subset,
        share=share,
        workers=workers,
        skip_broken=skip_broken,
        overwrite=overwrite,
        repair=repair,
        cache_size=cache_size,
        track=track,
    )
    skipped = read_json(skipped_list(path)) if skipped_list(path).exists() else []
    _show(dataset, ClipCache(path), skipped, as_json, share)


def _show(
    dataset: Dataset, clips: ClipCache, skipped: list[dict[str, str]], as_json: bool, share: Share | None
) -> None:
    counts = Counter(zip(clips.subsets, clips.splits, strict=True))
    frames: Counter[str] = Counter()
    for clip, subset in enumerate(clips.subsets):
        frames[subset] += clips.frame_count(clip)
    if as_json:
        result = {
            "clips": str(clips.path),
            "layout": dataset.name,
            "root": str(dataset.root),
            "fingerprint": clips.fingerprint,
            "counts": {f"{subset}/{split}": count for (subset, split), count in sorted(counts.items())},
            "frames": int(clips.first_frame[-1]),
            "decoded_size": clips.decoded_side or None,
            "classes": len(clips.classes),
            "skipped": skipped,
        }
        click.echo(json.dumps(result, indent=1))
        return
    what = "without labels" if clips.label_kind == "none" else f"of {len(clips.classes)} classes"
    table = Table("subset", *SPLITS, "frames", title=f"{len(clips)} clips {what}")
    for column in table.columns[1:]:
        column.justify = "right"
    for subset in sorted(frames):
        table.add_row(subset, *(f"{counts[subset, split]:,}" for split in SPLITS), f"{frames[subset]:,}")
    out.print(table)
    for left_out in skipped:
        out.print(f"left out {left_out['uid']}: {left_out['path']} {left_out['reason']}", markup=False, highlight=False)
    if clips.decoded_side:
        out.print(f"frames are decoded at {clips.decoded_side}x{clips.decoded_side}", highlight=False)
    following = "avsctl extract-audio"
    if share is not None:
        following = f"avsctl merge-caches (when all {share.of} are there), or avsctl extract-audio --shard {share}"
    out.print(f"{clips.path} is ready. Next: {following}", markup=False, highlight=False)
