"""The `avsctl` command: one file per subcommand, loaded only when it is called."""

from __future__ import annotations

import importlib

import click

from avsctl import __version__

COMMANDS = {
    "prepare": "Read a dataset, or render the synthetic one, into clips.h5.",
    "extract-audio": "Compute one audio embedding per frame into audio.h5.",
    "merge-caches": "Join what several machines prepared or extracted, each its share.",
    "train-avs": "Train stage 1: where does the sound come from?",
    "predict-priors": "Write stage 1's masks for every frame: the stepping stone.",
    "train-avss": "Train stage 2: what sounds, given a prior.",
    "evaluate": "Score runs on a split, with any prior and any change of the sound.",
    "experiment": "Run one of the paper's experiments, and write its table.",
    "visualize": "Draw the sounding objects over a video, with its sound.",
    "report": "Write one page to see, hear and compare what the runs do.",
    "weights": "List released weights, and fetch them by name.",
    "import-weights": "Convert released weights, and show what matched.",
    "bench": "Time avsctl against its peers on this machine.",
    "status": "Show what the workspace holds and what to run next.",
}


class LazyGroup(click.Group):
    """A group that imports a subcommand's module when it is needed, so that --help stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"avsctl.cli.{name.replace('-', '_')}")
        return module.command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="avsctl")
def cli() -> None:
    """Audio-visual segmentation, from data to a labelled video.

    \b
    avsctl prepare synthetic      a small world of things that sound, no download
    avsctl extract-audio
    avsctl train-avs              stage 1: where
    avsctl predict-priors         its masks, the stepping stones
    avsctl train-avss             stage 2: what
    avsctl evaluate --split test
    avsctl visualize video.mp4
    avsctl report                 all of it on one page, with clips to play

    Every command works in one workspace folder (--workspace, default: here) with fixed names.
    """


def main() -> None:
    """Run the command line and turn what the user can fix into one line."""
    from avsctl.cli._console import run_guarded
    from avsctl.distributed import exit_with

    exit_with(run_guarded(cli))
