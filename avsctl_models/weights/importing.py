"""One door for weights from anywhere: find out whose they are, build the model, fill it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from avsctl_models.contract import SegmentationModel
from avsctl_models.registry import is_own_file, read_spec
from avsctl_models.settings import build_errors
from avsctl_models.unfilled import build_unfilled
from avsctl_models.weights import avsbench, avsegformer, hub, mask2former_hf, stepping_stones, vggish
from avsctl_models.weights.class_rows import carry_over
from avsctl_models.weights.files import part_of, read_config, read_weights
from avsctl_models.weights.mapping import MisfitError, Report, Rule, convert_with_rules, load_converted


@dataclass(frozen=True)
class _Source:
    """What is done with the weights of one source.

    Attributes:
        sizes: Of the model, from the tensors and from what a config says, if there is one.
        build: The model of such sizes, with random weights.
        convert: Renames the tensors for that model.
        detect: Whether weights are the source's; None where `stepping_stones.detect` tells.
    """

    sizes: Callable[[dict[str, Tensor], dict | None], dict]
    build: Callable[[dict], SegmentationModel]
    convert: Callable[[dict[str, Tensor], SegmentationModel], tuple[dict[str, Tensor], Report]]
    detect: Callable[[dict[str, Tensor]], bool] | None = None


_SOURCES = {
    "mask2former-hf": _Source(mask2former_hf.sizes, mask2former_hf.build, mask2former_hf.convert),
    **{
        name: _Source(mask2former_hf.sizes, partial(stepping_stones.build, task=task), stepping_stones.convert)
        for name, task in stepping_stones.TASKS.items()
    },
    **{
        module.SOURCE: _Source(module.sizes, module.build, module.convert, module.detect)
        for module in (avsbench, avsegformer)
    },
}
SOURCES = (*_SOURCES, vggish.SOURCE)

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
    if source == vggish.SOURCE:
        state = part_of(state, vggish.PREFIX)
    found = _detect(state)
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
            the same name, or `config.json`), or else what the tensors say: of TPAVI and AVSegFormer nearly all, of
            the others the numbers of queries and classes, the rest being as published.
    Returns: Sizes, see `mask2former_hf.settings_from_config`, `avsbench.sizes` or `avsegformer.sizes`, and where
        they come from, in words.
    Raises: ValueError: If the JSON file cannot be read, or the tensors are too few to tell.
    """
    sizes = _model_source(foreign).sizes
    if isinstance(config, dict):
        return sizes(foreign.state, config), "the given config"
    if config is not None:
        return sizes(foreign.state, read_config(config)), str(config)
    for neighbour in _neighbours(foreign.path):
        found = read_config(neighbour) if neighbour.is_file() else {}
        if any(isinstance(found.get(key), dict) for key in ("backbone", "backbone_config", "backbone_options")):
            return sizes(foreign.state, found), str(neighbour)
    return sizes(foreign.state, None), "the published models"


def fill_model(foreign: Foreign, config: dict, origin: str) -> tuple[SegmentationModel, Report]:
    """Build a model in given sizes and fill all of it.

    Args:
        config, origin: As `find_config` returns them.
    Returns: The model in eval mode, and what matched or was not used.
    Raises: MisfitError: If a tensor that the model needs is missing or of another shape.
        ValueError: If the sizes describe no model that can be built, or the weights are a sound encoder's.
    """
    source = _model_source(foreign)
    held = sum(tensor.numel() for tensor in foreign.state.values())
    try:
        with build_errors(origin):
            model = build_unfilled(lambda: source.build(config), held, origin)
    except ValueError as error:
        raise ValueError(f"{foreign.name}: {error}") from error
    converted, report = source.convert(foreign.state, model)
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
    if report.unused:
        first, count = ", ".join(report.unused[:3]), len(report.unused)
        log.warning("%s: %d tensors are not part of the model and not used, first %s", path, count, first)
    return model, report


def initialise(
    model: SegmentationModel, path: Path | str, *, classes: tuple[Sequence[str], Sequence[str]] | None = None
) -> Report:
    """Fill what weights from anywhere can fill of a model; the rest keeps its values.

    Stage 1 of the published recipe starts so from plain Mask2Former: adapters, audio projection, class head
    and queries stay fresh. Adapters of the decoders are only taken from a model that has them in the same
    place, after its projections or instead of them.

    Args:
        model: Of any size.
        path: Weights of ours or of any of `SOURCES`.
        classes: Class names of the file and of the model, in index order: the class head's rows are then taken by
            name. None takes them as they are, or not at all where their number differs.
    Returns: What matched, is missing or of another shape, and what became of the classes.
    Raises: ValueError: If the file cannot be read, its source is unknown, or nothing in it fits.
    """
    if is_own_file(path):
        adapters = read_spec(path).get("settings", {}).get("adapters", "none")
        converted, report = convert_with_rules(read_weights(path), model, _OWN_NAMES)
    else:
        foreign = read_foreign(path)
        adapters = _ADAPTER_MODES.get(foreign.source, "none")
        # the rules of a stage hold those of plain Mask2Former too
        source = stepping_stones if foreign.source in _ADAPTER_MODES else _model_source(foreign)
        converted, report = source.convert(foreign.state, model)
    if adapters != model.spec["settings"].get("adapters", "none"):
        _leave_out_adapters(converted, report)
    if classes:
        carry_over(model, converted, report, *classes)
    load_converted(model, converted, report, source=str(path), partial=True)
    return report


def _detect(state: dict[str, Tensor]) -> str | None:
    if vggish.detect(state):
        return vggish.SOURCE
    found = (name for name, source in _SOURCES.items() if source.detect is not None and source.detect(state))
    return next(found, None) or stepping_stones.detect(state)


def _model_source(foreign: Foreign) -> _Source:
    if foreign.source == vggish.SOURCE:
        raise ValueError(f"{foreign.name} is VGGish, which turns sound into embeddings and segments nothing")
    return _SOURCES[foreign.source]


def _leave_out_adapters(converted: dict[str, Tensor], report: Report) -> None:
    for name in [name for name in converted if _DECODER_ADAPTER.fullmatch(name)]:
        del converted[name]
        report.matched.remove(name)
        report.missing.append(f"{name} (the file's adapter sits in another place)")


def _neighbours(path: Path) -> list[Path]:
    if path.is_dir():
        return [path / "config.json"]
    return [path.with_suffix(".json"), path.with_name("config.json")]
