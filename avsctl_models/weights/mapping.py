"""Rules that say from which tensors of a foreign state dict each of our tensors is made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Rule:
    """How tensors whose name matches a pattern are made.

    Attributes:
        pattern: Regular expression for the whole of our name.
        sources: Foreign names with the pattern's groups as {0}, {1}, …; several are joined on axis 0.
        rows: (part, parts) to take only one of equal parts of the source's rows, None for all.
    """

    pattern: str
    sources: tuple[str, ...]
    rows: tuple[int, int] | None = None


@dataclass(frozen=True)
class ClassRows:
    """Names of classes whose rows were taken, of those that start anew, and of those that are not needed any more."""

    kept: list[str]
    new: list[str]
    left: list[str]


@dataclass
class Report:
    """What became of every tensor of a conversion.

    Attributes:
        matched: Our names that were filled.
        missing: Our names for which the file holds nothing, each with what it would be made of.
        mismatched: Our names for which the file holds another shape: name, found shape, wanted shape.
        unused: Foreign names that fill nothing.
        ignored: Foreign names that are computed anew instead, such as index tables.
        dead: Foreign names that the released model holds and never uses.
        sound: Foreign names that belong to the sound encoder, which is no part of the model here.
        other_shapes: The tensors found for the mismatched names, by our names.
        class_rows: What became of the classes, None where their names are not known.
    """

    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    sound: list[str] = field(default_factory=list)
    other_shapes: dict[str, Tensor] = field(default_factory=dict, repr=False)
    class_rows: ClassRows | None = None

    @property
    def complete(self) -> bool:
        """Whether every tensor of the model was filled."""
        return not self.missing and not self.mismatched


class MisfitError(ValueError):
    """Weights that don't fill a model; `report` says which."""

    def __init__(self, message: str, report: Report):
        super().__init__(message)
        self.report = report


def convert_with_rules(
    state: dict[str, Tensor],
    model: nn.Module,
    rules: Sequence[Rule],
    *,
    recomputed: Sequence[str] = (),
    dead: Sequence[str] = (),
    sound: Sequence[str] = (),
) -> tuple[dict[str, Tensor], Report]:
    """Make a model's state dict from a foreign one.

    Args:
        state: Foreign names and tensors.
        model: Says which tensors are wanted, in which shapes; it is not changed.
        rules: The first whose pattern matches a name counts.
        recomputed: Endings of foreign names that nothing needs.
        dead: Beginnings or endings of names that the released model holds and never uses.
        sound: Beginnings of names that belong to the sound encoder.
    Returns: The tensors that fit, under our names, and a report.
    """
    report, converted, used = Report(), {}, set()
    for name, wanted in model.state_dict().items():
        rule, sources = _find(name, rules)
        if rule is None or any(source not in state for source in sources):
            report.missing.append(f"{name} (from {' + '.join(sources) or 'nothing known'})")
            continue
        used.update(sources)
        tensor = _make(rule, [state[source] for source in sources])
        if tensor is None or tensor.shape != wanted.shape:
            found = " + ".join(str(tuple(state[source].shape)) for source in sources)
            report.mismatched.append(f"{name}: found {found}, wanted {tuple(wanted.shape)}")
            if tensor is not None:
                report.other_shapes[name] = tensor
            continue
        converted[name] = tensor.to(wanted.dtype)
        report.matched.append(name)
    for name in (name for name in state if name not in used):
        if name.endswith(tuple(recomputed)):
            report.ignored.append(name)
        elif name.startswith(tuple(sound)):
            report.sound.append(name)
        elif name.startswith(tuple(dead)) or name.endswith(tuple(dead)):
            report.dead.append(name)
        else:
            report.unused.append(name)
    return converted, report


def sources_of(name: str, rules: Sequence[Rule]) -> list[str]:
    """Foreign names from which a tensor of ours is made, none if no rule speaks of it."""
    return _find(name, rules)[1]


def load_converted(
    model: nn.Module, converted: dict[str, Tensor], report: Report, *, source: str, partial: bool = False
) -> None:
    """Load converted tensors into a model.

    Args:
        source: Named in errors.
        partial: Whether tensors that are missing or of another shape keep the model's own values.
    Raises: MisfitError: If anything is missing and `partial` is off, or nothing fits at all.
    """
    problems = [f"{name} is missing" for name in report.missing] + report.mismatched
    if not converted or (problems and not partial):
        message = f"{source} does not fit the model: {len(problems)} tensors, first {'; '.join(problems[:3])}"
        raise MisfitError(message, report)
    if partial:
        model.load_state_dict(converted, strict=False)
    else:  # copies, for a file that was read may stand behind its tensors
        model.load_state_dict({name: tensor.clone() for name, tensor in converted.items()}, assign=True)


def _find(name: str, rules: Sequence[Rule]) -> tuple[Rule | None, list[str]]:
    for rule in rules:
        match = re.fullmatch(rule.pattern, name)
        if match:
            return rule, [source.format(*match.groups()) for source in rule.sources]
    return None, []


def _make(rule: Rule, tensors: list[Tensor]) -> Tensor | None:
    if any(tensor.shape[1:] != tensors[0].shape[1:] for tensor in tensors):
        return None
    tensor = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
    if rule.rows is None:
        return tensor
    part, parts = rule.rows
    size = len(tensor) // parts
    return tensor[part * size : (part + 1) * size].clone()
