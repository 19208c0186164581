"""One door for weights from anywhere: find out whose they are, build the model, fill it."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from avsctl_models.contract import SegmentationModel
from avsctl_models.registry import is_own_file, read_spec
from avsctl_models.weights import hub, mask2former_hf, stepping_stones, vggish
from avsctl_models.weights.files import read_config, read_weights
from avsctl_models.weights.mapping import MisfitError, Report, Rule, convert_with_rules, load_converted

SOURCES = ("mask2former-hf", *stepping_stones.TASKS, vggish.SOURCE)

_PUBLISHED = {
    "image_size": 384,
    "backbone": {
        "embed_dim": 128,
        "depths": [2, 2, 18, 2],
        "num_heads": [4, 8, 16, 32],
        "window_size": 12,
        "drop_path_rate": 0.3,
    },
}
log = logging.getLogger(__name__)

_OWN_NAMES = (Rule("(.+)", ("{0}",)),)
_ADAPTER_MODES = {"mask2former-hf": "none", "stepping-stones-avs": "replace", "stepping-stones-avss": "follow"}
_DECODER_ADAPTER = re.compile(r"(pixel_)?decoder\..*\.adapter\..*")


@dataclass(frozen=True)
class Foreign:
    """Weights of another program, read and recognised.

    Attributes:
        name: As the caller gave it, for messages.
        path: The file or folder they were read from.
        source: One of `SOURCES`.
        state: Names and tensors, as they are there.
    """

    name: str
    path: Path
    source: str
    state: dict[str, Tensor]


def read_foreign(path: Path | str, source: str = "auto") -> Foreign:
    """Read foreign weights and make sure whose they are.

    Args:
        path: A file or folder, see `read_weights`, or `hf://owner/name`.
        source: One of `SOURCES`, or "auto" to tell by the names of the tensors.
    Raises: ValueError: If they cannot be read, are not from the source, or are those of a model of ours.
    """
    if source != "auto" and source not in SOURCES:
        raise ValueError(f"source must be auto or one of {', '.join(SOURCES)}, not {source!r}")
    local = hub.download(path) if hub.is_hub_reference(path) else Path(path)
    if is_own_file(local):
        raise ValueError(f"{path} is a model of avsctl already; use it as it is")
    state = read_weights(local)
    found = vggish.SOURCE if vggish.detect(state) else stepping_stones.detect(state)
    if found is None:
        raise ValueError(
            f"{path} holds none of the known models ({', '.join(SOURCES)}); its first tensors are "
            f"{', '.join(list(state)[:3])}"
        )
    # Both stages' adapters share names and shapes but not places: a wrong guess would load silently.
    if source not in ("auto", found):
        raise ValueError(
            f"{path} is not from {source}: its tensors are those of {found}, first {', '.join(list(state)[:3])}"
        )
    return Foreign(str(path), local, found, state)


def find_config(foreign: Foreign, config: dict | Path | str | None = None) -> tuple[dict, str]:
    """Find the sizes of foreign weights.

    Args:
        config: Sizes or a JSON file of them; None takes a JSON beside the weights that describes a backbone (of
            the same name, or `config.json`), or else the published sizes with the file's own numbers of queries
            and classes.
    Returns: Sizes, see `mask2former_hf.settings_from_config`, and where they come from, in words.
    Raises: ValueError: If the JSON file cannot be read.
    """
    if isinstance(config, dict):
        return {**_own_numbers(foreign.state, config), **config}, "the given config"
    if config is not None:
        sizes = read_config(config)
        return {**_own_numbers(foreign.state, sizes), **sizes}, str(config)
    for neighbour in _neighbours(foreign.path):
        sizes = read_config(neighbour) if neighbour.is_file() else {}
        if any(isinstance(sizes.get(key), dict) for key in ("backbone", "backbone_config")):
            return {**_own_numbers(foreign.state, sizes), **sizes}, str(neighbour)
    queries = _rows(foreign.state, "queries_features.weight")
    sizes = {**_PUBLISHED, "mask2former": {"num_queries": queries}}
    return {**_own_numbers(foreign.state, sizes), **sizes}, "the published models"


def fill_model(foreign: Foreign, config: dict, origin: str) -> tuple[SegmentationModel, Report]:
    """Build a model in given sizes and fill all of it.

    Args:
        config, origin: As `find_config` returns them.
    Returns: The model in eval mode, and what matched or was not used.
    Raises: MisfitError: If a tensor that the model needs is missing or of another shape.
        ValueError: If the sizes describe no model that can be built, or the weights are a sound encoder's.
    """
    if foreign.source == vggish.SOURCE:
        raise ValueError(f"{foreign.name} is VGGish, which turns sound into embeddings and segments nothing")
    task = stepping_stones.TASKS.get(foreign.source)
    try:
        model = stepping_stones.build(config, task=task) if task else mask2former_hf.build(config)
    except (AssertionError, ArithmeticError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ValueError(f"{foreign.name}: no model can be built from {origin}: {reason}") from error
    converted, report = (stepping_stones if task else mask2former_hf).convert(foreign.state, model)
    try:
        load_converted(model, converted, report, source=foreign.name)
    except MisfitError as error:
        raise MisfitError(f"{error} (sizes of {origin})", report) from None
    return model.eval(), report


def import_model(
    path: Path | str, *, source: str = "auto", config: dict | Path | str | None = None
) -> tuple[SegmentationModel, Report]:
    """Build a model from foreign weights; all that it needs must be there.

    Args:
        path: A file or folder, see `read_weights`, or `hf://owner/name`.
        source: One of `SOURCES`, or "auto" to tell by the names of the tensors.
        config: Sizes, see `find_config`.
    Returns: The model in eval mode, and what matched or was not used.
    Raises: ValueError: If the file cannot be read, is not from the source, or doesn't fill the model.
    """
    foreign = read_foreign(path, source)
    model, report = fill_model(foreign, *find_config(foreign, config))
    dead = stepping_stones.DEAD if foreign.source == "stepping-stones-avs" else ()
    unused = [name for name in report.unused if not name.endswith(dead)]
    if unused:
        first = ", ".join(unused[:3])
        log.warning("%s: %d tensors are not part of the model and not used, first %s", path, len(unused), first)
    return model, report


def initialise(model: SegmentationModel, path: Path | str) -> Report:
    """Fill what weights from anywhere can fill of a model; the rest keeps its values.

    Stage 1 of the published recipe starts so from plain Mask2Former: adapters, audio projection, class head
    and queries stay fresh. Adapters of the decoders are only taken from a model that has them in the same
    place, after its projections or instead of them.

    Args:
        model: AAVS of any size.
        path: Weights of ours or of any of `SOURCES`.
    Returns: What matched, is missing or of another shape.
    Raises: ValueError: If the file cannot be read, its source is unknown, or nothing in it fits.
    """
    if is_own_file(path):
        adapters = read_spec(path).get("settings", {}).get("adapters", "none")
        converted, report = convert_with_rules(read_weights(path), model, _OWN_NAMES)
    else:
        foreign = read_foreign(path)
        adapters = _ADAPTER_MODES.get(foreign.source, "none")
        # the rules of a stage hold those of plain Mask2Former too
        converted, report = stepping_stones.convert(foreign.state, model)
    if adapters != model.spec["settings"]["adapters"]:
        _leave_out_adapters(converted, report)
    load_converted(model, converted, report, source=str(path), partial=True)
    return report


def _leave_out_adapters(converted: dict[str, Tensor], report: Report) -> None:
    for name in [name for name in converted if _DECODER_ADAPTER.fullmatch(name)]:
        del converted[name]
        report.matched.remove(name)
        report.missing.append(f"{name} (the file's adapter sits in another place)")


def _neighbours(path: Path) -> list[Path]:
    if path.is_dir():
        return [path / "config.json"]
    return [path.with_suffix(".json"), path.with_name("config.json")]


def _own_numbers(state: dict[str, Tensor], config: dict) -> dict:
    """What the tensors themselves say where the config is silent: classes, and widths of the audio projection."""
    numbers: dict = {}
    if "id2label" not in config:
        numbers["num_labels"] = max(_rows(state, "class_predictor.bias") - 1, 1)
    first, last = (
        next((tensor.shape for name, tensor in state.items() if name.endswith(f"audio_proj.{index}.weight")), None)
        for index in (0, 2)
    )
    if first and last and len(first) == len(last) == 2:
        numbers["audio_proj"] = [first[1], first[0], last[0]]
    return numbers


def _rows(state: dict[str, Tensor], ending: str) -> int:
    return next((len(tensor) for name, tensor in state.items() if name.endswith(ending) and tensor.ndim), 0)
