"""Every switch that the page on paper and code names is there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click

from avsctl.cli import cli
from avsctl_models import Criterion, list_presets, preset_settings

PAGE = (Path(__file__).parents[2] / "docs" / "paper_and_code.md").read_text(encoding="utf-8")
COMMANDS = ("train-avs", "train-avss", "evaluate", "predict-priors")


def test_options_exist():
    context = click.Context(cli)
    commands = [cli.get_command(context, name) for name in COMMANDS]
    known = {option for command in commands for p in command.params for option in (*p.opts, *p.secondary_opts)}
    named = set(re.findall(r"`(--[a-z0-9-]+)", PAGE))
    assert len(named) > 10
    assert named <= known


def test_settings_of_the_models_exist():
    models = ("aavs", "tpavi", "avsegformer")
    settings = {s for model in models for name in list_presets(model) for s in preset_settings(model, name, "avss")}
    named = set(re.findall(r"[`(]([a-z_]+)=", PAGE)) - {"preset", "task"}
    assert {"decoder_layers", "queries", "adapters"} <= named
    assert named <= settings | set(inspect.signature(Criterion).parameters)


def test_published_sizes_are_the_released_ones():
    avs, avss = (preset_settings("aavs", "swin-b-384", task) for task in ("avs", "avss"))
    assert (avs["queries"], avss["queries"], avs["decoder_layers"]) == (30, 100, 9)
    assert (avs["adapters"], avss["adapters"], avs["pixel_decoder"]) == ("replace", "follow", "deformable")
    assert (avss["prior_low"], avss["prior_high"], avs["audio_hidden"], avs["drop_path"]) == (0.4, 0.6, 512, 0.3)
