"""Rows of a classifier carried over by the names of their classes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from avsctl_models.contract import SegmentationModel
from avsctl_models.weights.mapping import ClassRows, Report


def carry_over(
    model: SegmentationModel,
    converted: dict[str, Tensor],
    report: Report,
    source: Sequence[str],
    target: Sequence[str],
) -> None:
    """Fill the model's class rows from those of a file, by name; rows of new classes keep their initial values.

    Class 0 is the background whatever it is called, and a row behind the last class ("no object") stays the last.
    Where the file has not as many rows as names, nothing is done.

    Args:
        converted, report: of the other tensors, see `convert_with_rules`; both are added to.
        source, target: class names of the file and of the model, in index order.
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if name in model.class_rows}
    found: dict[str, Tensor] = {}
    for name, wanted in own.items():
        tensor = converted.get(name, report.other_shapes.get(name))
        beyond = len(wanted) - len(target)
        if tensor is None or len(tensor) != len(source) + beyond or tensor.shape[1:] != wanted.shape[1:]:
            return
        found[name] = tensor
    if not found:
        return
    place = {name: row for row, name in enumerate(source) if row}
    pairs = [(0, 0), *((row, place[name]) for row, name in enumerate(target) if row and name in place)]
    for name, tensor in found.items():
        rows = own[name].clone()
        for row, where in pairs:
            rows[row] = tensor[where].to(rows)
        rows[len(target) :] = tensor[len(source) :].to(rows)
        converted[name] = rows
    report.mismatched = [line for line in report.mismatched if line.split(":")[0] not in found]
    report.matched += [name for name in found if name not in report.matched]
    kept = [target[row] for row, _ in pairs]
    new = [name for row, name in enumerate(target) if row and name not in place]
    report.class_rows = ClassRows(kept, new, [name for name in place if name not in target[1:]])
