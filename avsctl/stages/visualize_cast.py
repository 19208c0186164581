"""One run or several for the same pictures: what each predicts, under one list of class names and colours."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.caches.files import hash_of
from avsctl.data.palette import palette
from avsctl.errors import AvsctlError
from avsctl.stages.visualize_keys import KeyMaps, mask_between
from avsctl.stages.visualize_models import (
    SOUNDING,
    Checkpoint,
    Segmenter,
    Shelf,
    choose_checkpoints,
    default_prior_form,
    named_checkpoint,
)
from avsctl.stages.visualize_output import describe
from avsctl.stages.visualize_record import Presence
from avsctl.workspace import Workspace
from avsctl_models import load_model

MAX_NAMES = 256
"""Index pictures tell no more classes apart."""
_NEUTRAL = np.array([240, 240, 240], np.uint8)  # what sounds without a name, beside classes: no class is white


@dataclass(frozen=True)
class Choice:
    """The checkpoints of one column: stage 1, stage 2 or both, and what the column is called."""

    label: str
    first: Checkpoint | None
    second: Checkpoint | None

    def describe(self) -> dict[str, Any]:
        """As the JSON names it. Raises: AvsctlError: If a file is missing."""
        return {"avs": describe(self.first), "avss": describe(self.second)}

    def prior_form(self, asked: str | None) -> str:
        """`hard` or `soft`: as asked for, else as stage 2 was trained."""
        return asked or default_prior_form(self.second)


def choose(
    workspace: Workspace,
    *,
    avs: str | None = None,
    avss: str | None = None,
    compare: Sequence[str] = (),
    subset: str | None = None,
) -> list[Choice]:
    """The runs to draw: one by `choose_checkpoints`, or those that `compare` names, each as `RUN` or `LABEL=RUN`.

    A compared run of stage 2 that takes a prior gets that of the stage 1 which `avs` or the default choose.

    Raises: AvsctlError: If a run is missing, a label is there twice, or `avss` stands beside `compare`.
    """
    if not compare:
        first, second = choose_checkpoints(workspace, avs=avs, avss=avss, subset=subset)
        return [Choice("result", first, second)]
    if avss:
        raise AvsctlError(f"--compare names the runs itself: write --compare {avss} instead of --avss {avss}.")
    choices = []
    for words in compare:
        label, name = _label_and_run(words)
        checkpoint = named_checkpoint(workspace, _task_of(workspace, name), name)
        first, second = (checkpoint, None) if checkpoint.task == "avs" else (None, checkpoint)
        if second and takes_prior(second):
            first, _ = choose_checkpoints(workspace, avs=avs, avss=name, subset=subset)
        choices.append(Choice(label or checkpoint.short_name, first, second))
    twice = [one.label for number, one in enumerate(choices) if one.label in [c.label for c in choices[:number]]]
    if twice:
        raise AvsctlError(f"Two columns would be called {twice[0]}. Name one of them: --compare NAME={twice[0]}.")
    return choices


def takes_prior(second: Checkpoint) -> bool:
    """Whether a stage 2 was trained with a prior; of a bare file it is assumed, as the released ones are."""
    return second.run is None or second.run.options.get("prior", "none") != "none"


def _label_and_run(words: str) -> tuple[str, str]:
    label, separator, name = words.partition("=")
    if not separator or Path(words).exists():
        return "", words
    if not label or not name:
        raise AvsctlError(f"--compare {words} lacks its label or its run. Write LABEL=RUN, or RUN alone.")
    return label, name


def _task_of(workspace: Workspace, name: str) -> str:
    """The task of a run or checkpoint that is named without it."""
    path = Path(name)
    if path.is_file():
        try:
            return load_model(path).spec["task"]
        except ValueError as error:
            raise AvsctlError(f"{error}. Give --compare a run or a checkpoint.") from None
    return workspace.task_of(name)


@dataclass(frozen=True)
class Panel:
    """One column's models.

    Attributes:
        lookup: (256,) uint8, the shown index of each of the models' classes; 0 where it is not shown.
    """

    label: str
    segmenter: Segmenter
    lookup: np.ndarray

    def shown(self, entries: Sequence[Presence]) -> list[Presence]:
        """The entries of shown classes, under the shown indices."""
        moved = (replace(entry, index=int(self.lookup[entry.index])) for entry in entries)
        return [entry for entry in moved if entry.index]

    def mask(self, key: KeyMaps, size: tuple[int, int], after: KeyMaps | None = None, seconds: float = 0) -> np.ndarray:
        """(height, width) shown indices at a key, or on the way from it to the one after."""
        return self.lookup[mask_between(key, size, after, seconds)]


class Cast:
    """The chosen runs, loaded, each model once.

    Args:
        choices: from `choose`.
        classes: names of the classes to show; none shows all.
        clips: whose colours, and for their ground truth whose names, are taken.
        labelled: whether the clips' ground truth is shown beside the runs.
        The rest is as for `Segmenter`.

    Attributes:
        names, colours: of everything shown, (n, 3) uint8; a class has one colour in all columns. With one run they are
            its own, and indices in masks are the run's.
        truth_lookup: (256,) uint8 as in `Panel`, for the clips' labels.
    Raises: AvsctlError: If a model, its encoder, two stages or a class name don't fit.
    """

    def __init__(
        self,
        choices: Sequence[Choice],
        *,
        classes: Sequence[str] = (),
        clips: ClipCache | None = None,
        labelled: bool = False,
        audio: AudioCache | None = None,
        audio_weights: Path | None = None,
        prior_form: str | None = None,
        device: str = "auto",
        precision: str = "fp32",
        compile: bool = False,
    ):
        shelf = Shelf()
        segmenters = [
            Segmenter(
                choice.first, choice.second, clips=clips, audio_weights=audio_weights, audio=audio,
                prior_form=prior_form, device=device, precision=precision, compile=compile, shelf=shelf,
            )
            for choice in choices
        ]  # fmt: skip
        self.encoders = shelf.encoders
        if audio_weights is not None and set(self.encoders) == {"logmel"}:
            raise AvsctlError(f"The models hear logmel, which has no weights: drop --audio-weights {audio_weights}.")
        self.semantic = any(segmenter.second for segmenter in segmenters)
        named = clips is not None and self.semantic and clips.label_kind == "semantic"
        truth = [] if clips is None or not labelled else clips.classes if named else list(SOUNDING)
        self.names, self.colours = _joint_classes(segmenters, truth, clips)
        shown = _shown(self.names, classes, semantic=self.semantic)
        self.panels = [
            Panel(choice.label, segmenter, _lookup(segmenter.names, self.names, shown))
            for choice, segmenter in zip(choices, segmenters, strict=True)
        ]
        self.truth_lookup = _lookup(truth, self.names, shown) if truth and named else _any_class(self.names)
        # Of a comparison the prior is shown that a run uses; a column of stage 1 shows its own.
        used = [s.first.path for s in segmenters if s.first and (s.uses_prior or len(segmenters) == 1)]
        self._prior_of = used[0] if used else None

    @property
    def has_prior(self) -> bool:
        """Whether stage 1's prior is shown in a column of its own."""
        return self._prior_of is not None

    @property
    def sizes(self) -> set[int]:
        """Sides of the pictures that the models take."""
        return set().union(*(panel.segmenter.sizes for panel in self.panels))

    def predict(
        self,
        frames: Sequence[Mapping[int, np.ndarray]],
        sounds: Mapping[str, np.ndarray],
        lengths: Sequence[int] | None = None,
    ) -> tuple[np.ndarray | None, list[Tensor]]:
        """What all runs say of N frames, arguments as for `Segmenter.predict`.

        Returns: stage 1's prior (N, 224, 224) or None, and the maps (N, K, 112, 112) of each panel.
        """
        priors: dict[Path, Tensor] = {}
        maps = []
        for panel in self.panels:
            first = panel.segmenter.first
            known = priors.get(first.path) if first else None
            seen = panel.segmenter.predict(frames, sounds, known, lengths)
            if first and seen.prior is not None:
                priors.setdefault(first.path, seen.prior)
            maps.append(seen.maps)
        return (priors[self._prior_of].numpy() if self._prior_of else None), maps

    def heard(self) -> list[dict[str, str]]:
        """The encoder of each stage of each panel."""
        return [panel.segmenter.heard for panel in self.panels]


def classes_hash(clips: ClipCache | None) -> str:
    """What names and colours the workspace's clips give to results."""
    return "" if clips is None else hash_of(repr(clips.classes), clips.palette.tobytes())


def _joint_classes(
    segmenters: Sequence[Segmenter], truth: Sequence[str], clips: ClipCache | None
) -> tuple[list[str], np.ndarray]:
    """Names without repeats, those of the first segmenter that names classes first, and their colours."""
    order = sorted(segmenters, key=lambda segmenter: segmenter.second is None)  # stable: stage 1 alone comes last
    names, colours = list(order[0].names), list(order[0].colours)
    own = [truth[1:], *(segmenter.names[1:] for segmenter in order[1:])]  # the background needs no second name
    new = [name for name in dict.fromkeys(itertools.chain(*own)) if name not in names]
    if len(names) + len(new) > MAX_NAMES:
        raise AvsctlError(f"The runs know {len(names) + len(new)} different classes, more than {MAX_NAMES}. Drop one.")
    wide = palette(len(names) + len(new))
    for name in new:
        colours.append(_NEUTRAL if name == SOUNDING[1] else wide[len(names)])
        names.append(name)
    return names, np.array(colours, np.uint8)


def _shown(names: Sequence[str], asked: Sequence[str], *, semantic: bool) -> set[str]:
    if not asked:
        return set(names)
    if not semantic:
        raise AvsctlError("--classes needs a run of stage 2: stage 1 finds where something sounds, not what.")
    unknown = [name for name in asked if name not in names[1:]]
    if unknown:
        close = difflib.get_close_matches(unknown[0], names[1:], 3) or names[1:6]
        raise AvsctlError(f"No class {unknown[0]} among the {len(names) - 1} known. Choose from: {', '.join(close)} …")
    return set(asked)


def _lookup(own: Sequence[str], joint: Sequence[str], shown: set[str]) -> np.ndarray:
    table = np.zeros(256, np.uint8)
    for index, name in enumerate(own):
        if index and name in shown:
            table[index] = joint.index(name)
    return table


def _any_class(names: Sequence[str]) -> np.ndarray:
    """Every class is what stage 1 calls sounding."""
    table = np.full(256, names.index(SOUNDING[1]) if SOUNDING[1] in names else 1, np.uint8)
    table[0] = 0
    return table
