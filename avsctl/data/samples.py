"""Clips as a model reads them: frames at its size, sound, labels and the prior, joined over clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from avsctl.ahead import PREFETCH
from avsctl.caches.clips import ClipCache
from avsctl.caches.features import FeatureCache
from avsctl.caches.priors import PriorCache
from avsctl.configs import LABEL_SIZE
from avsctl.data.augment import View
from avsctl.data.decoding import decode_labels, resized_frames
from avsctl.data.labels import UNLABELLED, binary_from_classes, binary_label, semantic_label
from avsctl.data.reading import read_batches
from avsctl.errors import AvsctlError
from avsctl_models.backbones import STRIDES


@dataclass
class Batch:
    """The frames of one or more clips, stacked on the first axis.

    Args:
        uids, subsets: of each clip; `lengths` its number of frames.
        frames: (N, 3, S, S) uint8; (N, 3, 0, 0) where `features` stand for them.
        audio: (N, D) float32.
        labels: (N, s, s) uint8 class indices (0 or 1 for the task avs); all `UNLABELLED` where a frame has none.
        labelled: (N,) bool.
        prior: (N, p, p) float32 in [0, 1], or None for a model without a prior.
        features: maps of a frozen backbone (N, C, h, w), the coarsest levels last; empty where none are cached.
        first: how many frames of its first clip are elsewhere, before these.
    """

    uids: list[str]
    subsets: list[str]
    lengths: list[int]
    frames: Tensor
    audio: Tensor
    labels: Tensor
    labelled: Tensor
    prior: Tensor | None
    features: list[Tensor] = field(default_factory=list)
    first: int = 0

    @classmethod
    def join(cls, batches: Sequence[Batch]) -> Batch:
        """Stack the frames of several batches."""
        return cls(
            uids=[uid for batch in batches for uid in batch.uids],
            subsets=[subset for batch in batches for subset in batch.subsets],
            lengths=[length for batch in batches for length in batch.lengths],
            frames=torch.cat([batch.frames for batch in batches]),
            audio=torch.cat([batch.audio for batch in batches]),
            labels=torch.cat([batch.labels for batch in batches]),
            labelled=torch.cat([batch.labelled for batch in batches]),
            prior=None if batches[0].prior is None else torch.cat([b.prior for b in batches if b.prior is not None]),
            features=[torch.cat(level) for level in zip(*(batch.features for batch in batches), strict=True)],
        )

    def clips(self) -> list[slice]:
        """The frames of each clip."""
        ends = np.cumsum([0, *self.lengths]).tolist()
        return [slice(start, end) for start, end in pairwise(ends)]

    def pin_memory(self) -> Batch:
        """The same in memory that a GPU reads by itself."""
        prior = None if self.prior is None else self.prior.pin_memory()
        pinned = {name: getattr(self, name).pin_memory() for name in ("frames", "audio", "labels", "labelled")}
        return replace(self, **pinned, prior=prior, features=[level.pin_memory() for level in self.features])

    def split(self, parts: int) -> list[Batch]:
        """Cut into up to `parts` batches of whole clips, as equal as can be."""
        parts = min(parts, len(self.uids))
        clips = [len(self.uids) * i // parts for i in range(parts + 1)]
        frames = [sum(self.lengths[:clip]) for clip in clips]
        return [self._part(slice(*clips[i : i + 2]), slice(*frames[i : i + 2])) for i in range(parts)]

    def share(self, part: int, parts: int) -> Batch | None:
        """One of several parts of a single clip's frames; None where it has too few."""
        (length,) = self.lengths
        frames = slice(length * part // parts, length * (part + 1) // parts)
        if frames.start == frames.stop:
            return None
        return replace(self._part(slice(0, 1), frames), lengths=[frames.stop - frames.start], first=frames.start)

    def _part(self, clips: slice, frames: slice) -> Batch:
        return Batch(
            uids=self.uids[clips],
            subsets=self.subsets[clips],
            lengths=self.lengths[clips],
            frames=self.frames[frames],
            audio=self.audio[frames],
            labels=self.labels[frames],
            labelled=self.labelled[frames],
            prior=None if self.prior is None else self.prior[frames],
            features=[level[frames] for level in self.features],
            first=0 if clips.start else self.first,
        )


class PriorSource:
    """Where the prior of a clip comes from.

    Args:
        kind: `oracle` (the ground truth), `empty` (nothing sounds), or a prior cache.
        form: `hard` thresholds a cache's probabilities at 0.5, as released; `soft` keeps them.
    """

    def __init__(self, kind: str | PriorCache, form: str = "hard"):
        self.kind = kind
        self.form = form

    @property
    def fingerprint(self) -> str:
        """Of the cache, or the name of the rule."""
        return self.kind.fingerprint if isinstance(self.kind, PriorCache) else self.kind

    def read(self, uid: str, labels: np.ndarray) -> np.ndarray:
        """(T, p, p) float32 in [0, 1]; the oracle of an unlabelled frame is empty.

        Raises: AvsctlError: If the cache has no prior for the clip or for some of its frames.
        """
        if self.kind == "oracle":
            return ((labels != 0) & (labels != UNLABELLED)).astype(np.float32)
        if not isinstance(self.kind, PriorCache):
            return np.zeros(labels.shape, np.float32)
        maps = self.kind.maps(uid)
        if len(maps) != len(labels):
            raise AvsctlError(
                f"{self.kind.path} has {len(maps)} priors for clip {uid}, which has {len(labels)} frames. "
                f"Run 'avsctl predict-priors --overwrite'."
            )
        return (maps >= 128).astype(np.float32) if self.form == "hard" else maps.astype(np.float32) / 255


class Embeddings(Protocol):
    """Sound by clip, such as an `AudioCache`."""

    def embedding(self, uid: str) -> np.ndarray:
        """(T, D) of a clip."""


class ClipSamples(torch.utils.data.Dataset):
    """Clips of `clips.h5` with their sound, one `Batch` each.

    Args:
        indices: clips to give, in order.
        task: `avs` gives 0/1 labels, `avss` class indices.
        image_size: side of the model's input; frames are resized as the released readers do (Pillow bilinear,
            without keeping the aspect ratio). Frames and labels that the cache holds decoded at the sizes asked for
            are read as they are, which gives the same.
        frames: `all`; `labelled` leaves the unlabelled out; `repeat` gives S4 training clips their first frame five
            times, as the released reader does.
        frames_per_clip: at most so many frames of a clip; None takes all.
        augment: show a random `View` of each clip, cut from the original frames. This and the frames are drawn anew
            for every `epoch`, from (seed, epoch, clip).
        audio: an `AudioCache`, or what holds changed sound.
        features: a cache of the maps of these frames, which are then only read where it lacks levels; None reads
            frames alone. May be exchanged between epochs.
    Raises: AvsctlError: If the sound does not fit the frames, or if binary labels are asked for their classes.
    """

    def __init__(
        self,
        clips: ClipCache,
        audio: Embeddings,
        indices: Sequence[int],
        *,
        task: str,
        image_size: int,
        label_size: int = LABEL_SIZE,
        binary_labels: str = "bilinear",
        prior: PriorSource | None = None,
        frames: str = "all",
        frames_per_clip: int | None = None,
        augment: bool = False,
        seed: int = 0,
        features: FeatureCache | None = None,
    ):
        if task == "avss" and clips.label_kind == "binary":
            raise AvsctlError(
                f"{clips.path} holds binary labels, which do not name classes: the task avss needs AVSBench-semantic. "
                f"Run 'avsctl prepare avsbench --root DIR' on it, or train stage 1 with 'avsctl train-avs'."
            )
        self.clips = clips
        self.audio = audio
        self.indices = list(indices)
        self.task = task
        self.image_size = image_size
        self.label_size = label_size
        self.binary_labels = binary_labels
        self.prior = prior
        self.frames = frames
        self.frames_per_clip = frames_per_clip
        self.augment = augment
        self.seed = seed
        self.features = features
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, item: int) -> str:
        """What messages call an item: its clip."""
        return f"clip {self.clips.uids[self.indices[item]]}"

    def __getitem__(self, item: int) -> Batch:
        clip = self.indices[item]
        uid = self.clips.uids[clip]
        rng = np.random.default_rng([self.seed, self.epoch, clip])
        view = View.draw(rng) if self.augment else View()
        labels = self._read_labels(clip, view)
        labelled = self.clips.labelled(clip)
        audio = self.audio.embedding(uid)
        if len(audio) != len(labels):
            raise AvsctlError(
                f"Clip {uid} has {len(labels)} frames but {len(audio)} audio embeddings. "
                f"Run 'avsctl extract-audio --overwrite'."
            )
        shown, heard = self._choose_frames(labelled, rng)
        prior = None if self.prior is None else self._read_prior(self.prior, uid, labels, view)[shown]
        return Batch(
            uids=[uid],
            subsets=[self.clips.subsets[clip]],
            lengths=[len(shown)],
            frames=self._read_frames(clip, shown, view),
            audio=torch.from_numpy(audio[heard].astype(np.float32)),
            labels=torch.from_numpy(labels[shown]),
            labelled=torch.from_numpy(labelled[shown]),
            prior=None if prior is None else torch.from_numpy(prior),
            features=[] if self.features is None else [torch.from_numpy(m) for m in self.features.maps(uid, shown)],
        )

    def _read_frames(self, clip: int, shown: list[int], view: View) -> Tensor:
        if self.features is not None and len(self.features.strides) == len(STRIDES):
            return torch.zeros(len(shown), 3, 0, 0, dtype=torch.uint8)
        if not self.augment and self.clips.decoded_side == self.image_size:
            return torch.from_numpy(self.clips.decoded_frames(clip, shown))
        files = self.clips.frame_bytes(clip)
        return torch.from_numpy(resized_frames(self.clips, clip, files, shown, self.image_size, view))

    def _choose_frames(self, labelled: np.ndarray, rng: np.random.Generator) -> tuple[list[int], list[int]]:
        """Which frames are shown, and with which seconds' sound."""
        seconds = list(range(len(labelled)))
        shown = seconds
        if self.frames == "labelled":
            shown = [t for t in seconds if labelled[t]]
        elif self.frames == "repeat" and not labelled.all():
            # Every second of sound with the one labelled frame.
            shown = [int(np.flatnonzero(labelled)[0])] * len(seconds)
        heard = seconds if self.frames == "repeat" else shown
        if self.frames_per_clip is None or self.frames_per_clip >= len(shown):
            return shown, heard
        drawn = rng.choice(len(shown), self.frames_per_clip, replace=False)
        return [shown[i] for i in sorted(drawn)], [heard[i] for i in sorted(drawn)]

    def _read_prior(self, source: PriorSource, uid: str, labels: np.ndarray, view: View) -> np.ndarray:
        prior = source.read(uid, labels)
        # The oracle is made from labels that are seen this way already.
        return prior if source.kind == "oracle" or not self.augment else np.stack([view.map(p) for p in prior])

    def _read_labels(self, clip: int, view: View) -> np.ndarray:
        bilinear = self.task == "avs" and self.binary_labels == "bilinear"
        if self.augment or self.clips.decoded_label_side != self.label_size:
            return np.stack([self._label(index, view) for index in decode_labels(self.clips, clip)])
        labels = self.clips.decoded_labels(clip, sounding=bilinear)
        return binary_from_classes(labels) if self.task == "avs" and not bilinear else labels

    def _label(self, index: np.ndarray | None, view: View) -> np.ndarray:
        if index is None:
            return np.full((self.label_size,) * 2, UNLABELLED, np.uint8)
        index = view.map(index, nearest=True) if self.augment else index
        if self.task == "avs":
            return binary_label(index, self.label_size, rule=self.binary_labels, palette=self.clips.palette)
        return semantic_label(index, self.label_size)


def loader(
    samples: ClipSamples,
    batches: Sequence[Sequence[int]],
    workers: int,
    *,
    prefetch: int = PREFETCH,
    pin: bool = False,
) -> Iterator[Batch]:
    """Read batches of clips in the given order, see `read_batches`.

    Raises: AvsctlError: If a clip can't be read, or a worker process dies.
    """
    return read_batches(samples, batches, Batch.join, workers, prefetch=prefetch, pin=pin)
