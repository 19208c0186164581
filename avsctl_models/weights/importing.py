"""One door for weights from anywhere: find out whose they are, build the model, fill it."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from avsctl_models.registry import SPEC_KEY, read_metadata
from avsctl_models.weights import mask2former_hf, stepping_stones
from avsctl_models.weights.files import read_config, read_weights
from avsctl_models.weights.mapping import Report, Rule, convert_with_rules, load_converted

SOURCES = ("mask2former-hf", *stepping_stones.TASKS)

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
_OWN_NAMES = (Rule("(.+)", ("{0}",)),)


def import_model(
    path: Path | str, *, source: str = "auto", config: dict | None = None
) -> tuple[nn.Module, Report]:
    """Build a model from foreign weights, all of which it needs must be there.

    Args:
        path: A file or folder, see `read_weights`.
        source: One of `SOURCES`, or "auto" to tell by the names of the tensors.
        config: Sizes, see `mask2former_hf.settings_from_config`; None takes a `config.json` in the folder,
            or else the published sizes with the file's own numbers of queries and classes.
    Returns: The model in eval mode, and what matched or was not used.
    Raises: ValueError: If the file cannot be read, is not from the source, or doesn't fill the model.
    """
    path = Path(path)
    state = read_weights(path)
    source = _resolve_source(state, source, path)
    if config is None:
        own = path / "config.json"
        config = read_config(own) if own.is_file() else _published_config(state)
    task = stepping_stones.TASKS.get(source)
    if task is None:
        model = mask2former_hf.build(config)
        converted, report = mask2former_hf.convert(state, model)
    else:
        model = stepping_stones.build(config, task=task)
        converted, report = stepping_stones.convert(state, model)
    load_converted(model, converted, report, source=str(path))
    return model.eval(), report


def initialise(model: nn.Module, path: Path | str) -> Report:
    """Fill what weights from anywhere can fill of a model; the rest keeps its values.

    Stage 1 of the published recipe starts so from plain Mask2Former: adapters, audio projection, class head
    and queries stay fresh.

    Args:
        model: AAVS of any size.
        path: Weights of ours or of any of `SOURCES`.
    Returns: What matched, is missing or of another shape.
    Raises: ValueError: If the file cannot be read, its source is unknown, or nothing in it fits.
    """
    state = read_weights(path)
    if Path(path).suffix == ".safetensors" and SPEC_KEY in read_metadata(path):
        converted, report = convert_with_rules(state, model, _OWN_NAMES)
    else:
        # the rules of a stage hold those of plain Mask2Former too
        _resolve_source(state, "auto", Path(path))
        converted, report = stepping_stones.convert(state, model)
    load_converted(model, converted, report, source=str(path), partial=True)
    return report


def _resolve_source(state: dict[str, Tensor], source: str, path: Path) -> str:
    if source != "auto" and source not in SOURCES:
        raise ValueError(f"source must be auto or one of {', '.join(SOURCES)}, not {source!r}")
    found = stepping_stones.detect(state)
    if found is None:
        raise ValueError(
            f"{path} holds none of the known models ({', '.join(SOURCES)}); its first tensors are "
            f"{', '.join(list(state)[:3])}"
        )
    # Both stages' adapters share names and shapes but not places: a wrong guess would load silently.
    if source not in ("auto", found):
        raise ValueError(f"{path} is not from {source}: its tensors are those of {found}")
    return found


def _published_config(state: dict[str, Tensor]) -> dict:
    def rows(ending: str) -> int:
        return next((len(tensor) for name, tensor in state.items() if name.endswith(ending)), 0)

    return {
        **_PUBLISHED,
        "num_labels": max(rows("class_predictor.bias") - 1, 1),
        "mask2former": {"num_queries": rows("queries_features.weight")},
    }
