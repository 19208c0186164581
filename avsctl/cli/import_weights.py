"""`avsctl import-weights`."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import click

from avsctl.cli._console import out
from avsctl.cli._options import WEIGHTS, json_option, output_options, overwrite_option
from avsctl.errors import AvsctlError

SOURCES = ("mask2former-hf", "stepping-stones-avs", "stepping-stones-avss", "avsbench", "avsegformer", "vggish", "auto")
EXPLAINED = {
    "matched": "of the model's tensors, filled",
    "unused": "of the file's tensors, not needed",
    "missing": "of the model's tensors, not in the file",
    "misshapen": "of the model's tensors, in another shape in the file",
    "recomputed": "of the file's tensors, computed anew",
    "dead": "of the file's tensors, which the released model never uses",
    "vggish": "of the file's tensors, the sound encoder's: give the file to extract-audio --weights",
}
RARE = ("dead", "vggish")
"""Lists of which an empty one isn't mentioned."""
SHORT = 3
"""Names shown of a list that needs no attention."""
MANY = 20
"""Names shown of what doesn't fit, when nothing was written."""

log = logging.getLogger("avsctl")


@click.command("import-weights")
@click.argument("file", metavar="FILE|NAME", type=WEIGHTS)
@click.option("--from", "source", type=click.Choice(SOURCES), default="auto", show_default=True, help="Whose they are.")
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), metavar="JSON",
    help="The model's sizes: Hugging Face's config.json, or one like it. "
    "[default: FILE's name with .json, or config.json beside it, else the published sizes]",
)  # fmt: skip
@click.option(
    "--out", "target", type=click.Path(path_type=Path), required=True, metavar="FILE.safetensors", help="File to write."
)
@overwrite_option
@json_option
@output_options
def command(file: Path, source: str, config: Path | None, target: Path, overwrite: bool, as_json: bool) -> None:
    """Convert released weights, and show what matched.

    FILE is a .safetensors, .pth or .bin file, a folder in Hugging Face's format, or hf://owner/name; NAME is one of
    'avsctl weights list'. Nothing that such a file may contain is run. If the model needs a tensor that is not there,
    nothing is written.

    Segmentation models go to train-avs and train-avss (--init-from), evaluate (--run) and visualize (--avs, --avss);
    all of these take unconverted files too. VGGish goes to extract-audio (--weights).
    """
    from avsctl.stages.import_weights import import_weights

    result = import_weights(str(file), target, source=source, config=config, overwrite=overwrite)
    if as_json:
        click.echo(json.dumps(result.content, indent=1))
    else:
        _show(result.content)
    if result.problem:
        raise AvsctlError(result.problem)


def _show(content: dict[str, Any]) -> None:
    sizes = f", in the sizes of {content['sizes']}" if content["sizes"] else ""
    _say(f"{content['file']}: {content['source']}{sizes}")
    for kind, explanation in EXPLAINED.items():
        if kind in RARE and not content["counts"][kind]:
            continue
        _say(f"{kind} {content['counts'][kind]} ({explanation})")
        shown = _shown(content, kind)
        for name in content[kind][:shown]:
            _say(f"  {name}")
        if content["counts"][kind] > shown:
            _say(f"  … and {content['counts'][kind] - shown} more (-v or --json lists all)")
    if content["out"]:
        _say(f"{content['out']}: {_model(content['model'])}")


def _shown(content: dict[str, Any], kind: str) -> int:
    if log.isEnabledFor(logging.DEBUG):
        return content["counts"][kind]
    if kind in ("matched", "recomputed", *RARE):
        return SHORT
    return content["counts"][kind] if content["out"] else MANY


def _model(model: dict[str, Any]) -> str:
    numbers = f"{model['parameters']:,} numbers"
    if "settings" not in model:
        return f"{model['name']}, {numbers}"
    settings, side = model["settings"], model["settings"]["image_size"]
    hears = f"hears {model['audio_dim']} numbers a frame" if model["audio_dim"] else "hears nothing"
    prior = "a prior" if model["uses_prior"] else "no prior"
    queries = f"{settings['queries']} queries, " if "queries" in settings else ""
    return (
        f"{model['name']} for {model['task']}, {model['num_classes']} classes, {queries}"
        f"{side}x{side} pixels, {hears}, takes {prior}, {numbers}"
    )


def _say(text: str) -> None:
    out.print(text, markup=False, highlight=False)
