"""`avsctl merge-caches`."""

from __future__ import annotations

import click

from avsctl.cli._console import out, track
from avsctl.cli._options import command, overwrite_option
from avsctl.workspace import Workspace


@command("merge-caches")
@click.option("--remove", is_flag=True, help="Delete the shares of a cache once it is whole.")
@overwrite_option
def command(workspace: Workspace, remove: bool, overwrite: bool) -> None:
    """Join the shares that 'prepare --shard' and 'extract-audio --shard' left into clips.h5 and audio.h5.

    \b
    avsctl prepare avsbench --shard 2/4     machine 2 of 4: clips.shard-2-of-4.h5
    avsctl merge-caches                     one of them, when all are done: clips.h5
    avsctl extract-audio --shard 2/4        before or after clips are joined: audio.shard-2-of-4.h5
    avsctl merge-caches --remove            audio.h5; the shares are deleted

    Every clip is checked and copied; the result has the bytes that one machine would have written.
    """
    from avsctl.stages.merge_caches import merge_caches

    for path in merge_caches(workspace, overwrite=overwrite, remove=remove, track=track):
        out.print(f"{path} is whole", markup=False, highlight=False)
