"""The weights a training starts from: another run's or a released model's, for other classes too."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from avsctl.caches.files import write_json
from avsctl.configs import TrainConfig
from avsctl.data.palette import CLASS_NAMES
from avsctl.distributed import on_main
from avsctl.workspace import Run
from avsctl_models.contract import SegmentationModel
from avsctl_models.weights.importing import initialise
from avsctl_models.weights.mapping import Report

log = logging.getLogger(__name__)

_SHOWN = 8  # names of classes in a line


def start_from(model: SegmentationModel, config: TrainConfig, classes: Sequence[str], folder: Path | None) -> Report:
    """Fill a model with what fits of `config.init_from`, and say what that is.

    Stage 2's class head takes the rows of classes that the source knows by the same name: of a run's classes as its
    record has them, of another file with AVSBench's number of classes as AVSBench calls them.

    Args:
        classes: of the clips to train on.
        folder: where `start.json` is written: source, tensors taken, new (initial values), unused (of the source),
            and class_rows kept, new, left; None writes nothing.
    Raises: ValueError: If the file can't be read, or nothing in it fits.
    """
    source = _weights(Path(str(config.init_from)))
    names = _class_names(source) if config.task == "avss" else None
    report = initialise(model, source, classes=(names, classes) if names else None)
    new = [*report.missing, *report.mismatched]
    log.info(
        "%s: %d tensors taken, %d of the model's keep their initial values, %d of the file's are not used",
        config.init_from, len(report.matched), len(new), len(report.unused),
    )  # fmt: skip
    for title, lines in (("keeps its initial value", new), ("not used", report.unused)):
        for line in lines:
            log.debug("%s: %s", title, line)
    rows = report.class_rows
    if rows:
        log.info(
            "classes: %s kept; %s new; %s not used", _listed(rows.kept), _listed(rows.new), _listed(rows.left)
        )  # fmt: skip
    if folder is not None:
        content = {"source": str(config.init_from), "taken": report.matched, "new": new, "unused": report.unused}
        whole = {**content, "class_rows": asdict(rows) if rows else None}
        on_main(lambda: write_json(folder / "start.json", whole))
    return report


def _weights(path: Path) -> Path:
    """The file of a run's folder, or what was given."""
    return Run(path).weights if (path / "record.json").exists() else path


def _class_names(path: Path) -> list[str] | None:
    """The classes that a file's class head knows, None for a stage 1."""
    if path.name == "model.safetensors" and path.with_name("record.json").exists():
        record = Run(path.parent).record
        return list(record["classes"]) if record["task"] == "avss" else None
    return list(CLASS_NAMES)


def _listed(names: Sequence[str]) -> str:
    """How many, and which."""
    shown = ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
    return f"{len(names)} ({shown})" if names else "none"
