"""Videos in, a clip set without labels out: a folder in the neutral layout, to which labels may be added."""

from __future__ import annotations

import csv
import io
import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avsctl.caches.files import hash_of, read_json, sync_folder, whole_file, write_json
from avsctl.data.tables import read_table
from avsctl.data.video_clips import read_clips
from avsctl.data.video_files import Failure, find_videos, result_names
from avsctl.errors import AvsctlError
from avsctl.progress import Track, silent

log = logging.getLogger(__name__)

COLUMNS = ("uid", "split", "subset", "video")
LISTING = "videos.json"
"""What was cut from which video, beside the clips."""


@dataclass
class CutVideos:
    """A folder of clips.

    Attributes:
        root: the folder; new, kept: names of the videos cut now, and of those that were there already.
        failed: videos that could not be cut, and why.
    """

    root: Path
    new: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


def cut_videos(
    given: Sequence[Path],
    out: Path,
    *,
    length: int | None = 10,
    subset: str = "videos",
    split: str = "test",
    overwrite: bool = False,
    track: Track = silent,
) -> CutVideos:
    """Cut videos into clips of one picture and one second of sound per second.

    Writes `<out>/<uid>/frames/<second>.jpg` and `audio.wav` of each clip, whole or not at all, then `clips.csv`. A
    rerun cuts only videos that are new; the rows of `clips.csv` that are there stay as they are, and so do labels.

    Args:
        given: files, folders and patterns, see `find_videos`.
        length: of a clip in seconds, named `<video>_<begin>_<end>` in milliseconds; None makes each video one clip.
        subset, split: of the new clips.
        overwrite: cut videos again that changed or were cut otherwise; their clips and labels are lost.
    Raises: AvsctlError: If not one video can be cut, or clips of another length or video are in the way.
    """
    videos = result_names(find_videos(given))
    cut = CutVideos(out)
    listing = _begin(out)
    for video, name in track(videos.items(), "cutting videos", len(videos)):
        try:
            plan = {"content": _content_hash(video), "length": length}
            entry = listing.get(name)
            if entry and _same(entry, plan) and all((out / uid).is_dir() for uid in entry["clips"]):
                cut.kept.append(name)
                continue
            if entry and not overwrite:
                raise AvsctlError(
                    f"{out} holds clips of another {name}, or of another length. Add --overwrite to cut {video} again "
                    f"(labels of its clips are lost), or choose another --out."
                )
            old = entry["clips"] if entry else []
            listing[name] = {**plan, "clips": _cut(video, name, out, length, old, overwrite)}
        except (AvsctlError, OSError) as error:
            cut.failed.append(Failure.of(video, error))
            continue
        cut.new.append(name)
        write_json(out / LISTING, listing)
    if not listing:
        (out / LISTING).unlink()
        _remove_empty(out)
    if not cut.new and not cut.kept:
        raise AvsctlError(f"Not one video can be cut: {cut.failed[0].reason}.")
    _write_table(out, listing, subset, split)
    return cut


def _begin(out: Path) -> dict[str, Any]:
    """The listing of what is there; made first, so that a folder that a stop leaves is known again."""
    path = out / LISTING
    if path.exists():
        return read_json(path)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AvsctlError(f"{out} holds other files. Choose another --out, or empty it.")
    write_json(path, {})
    return {}


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _same(entry: dict[str, Any], plan: dict[str, Any]) -> bool:
    return {key: entry.get(key) for key in plan} == plan


def _content_hash(video: Path) -> str:
    """A hash of a video's size and ends, which tells videos apart without reading gigabytes."""
    try:
        with video.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(1 << 20)
            file.seek(max(0, size - (1 << 20)))
            return hash_of(str(size), head, file.read())
    except (FileNotFoundError, IsADirectoryError):
        raise AvsctlError(f"no video at {video}: check the path") from None


def _cut(video: Path, name: str, out: Path, length: int | None, old: Sequence[str], overwrite: bool) -> list[str]:
    """Write a video's clips, in the place of its old ones; returns their uids. They get their places at the end."""
    hidden = out / f".{name}.part"
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir()
    uids: list[str] = []
    try:
        for clip in read_clips(video, length):
            uid = name if length is None else f"{name}_{clip.begin * 1000}_{(clip.begin + len(clip.frames)) * 1000}"
            (hidden / uid / "frames").mkdir(parents=True)
            for second, data in enumerate(clip.frames):
                (hidden / uid / "frames" / f"{second}.jpg").write_bytes(data)
            (hidden / uid / "audio.wav").write_bytes(clip.audio)
            uids.append(uid)
        if not uids:
            raise AvsctlError(f"{video} has no frame that can be decoded: the file is damaged; get it again")
        labelled = [uid for uid in uids if uid not in old and (out / uid / "labels").exists()]
        if labelled and not overwrite:
            raise AvsctlError(f"{out / labelled[0]} has labels already. Add --overwrite to lose them, or move it away.")
        for uid in {*old, *uids}:
            shutil.rmtree(out / uid, ignore_errors=True)
        for uid in uids:
            os.replace(hidden / uid, out / uid)
        sync_folder(out)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return uids


def _write_table(out: Path, listing: dict[str, Any], subset: str, split: str) -> None:
    """Add the clips that are missing in clips.csv, and drop those that are no more."""
    table = out / "clips.csv"
    rows = [row for _, row in read_table(table, COLUMNS)] if table.exists() else []
    columns = list(rows[0]) if rows else list(COLUMNS)
    cut = {uid: name for name, entry in listing.items() for uid in entry["clips"]}
    there = {row["uid"] for row in rows}
    rows = [row for row in rows if row["uid"] in cut or (out / (row["uid"] or "")).is_dir()]
    shared = {"split": split, "subset": subset, "labelled_frames": "none"}  # the last one only if it is a column
    rows += [{"uid": uid, "video": name, **shared} for uid, name in cut.items() if uid not in there]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with whole_file(table) as part:
        part.write_text(text.getvalue(), encoding="utf-8")
