"""What a stage 1 of a chosen quality would say, made from the ground truth with the errors that real models make.

One number, the severity in [0, 1], turns the truth (0) into nonsense (1) through five kinds of errors:

| error | how |
|---|---|
| wrong borders | the outline is smoothed, moved in or out, and wobbles |
| missed sources | one source of the frame shrinks away, mostly throughout the clip |
| silent objects included | what sounds in another second of the clip appears; else an object's shape elsewhere |
| failed frames | nothing is marked, or a blob over most of the picture |
| collapse | near severity 1 only: nothing in frames with sound, all in frames without |

Everything is a level of one field whose sign is the decision, and moves continuously with the severity, so that any
mean IoU between 0 and 1 can be met. All chances follow from (seed, uid, frame); half of each comes from the clip, as
a model that misses an object misses it in most of its frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.special import expit, ndtr

from avsctl.caches.files import hash_of
from avsctl.caches.priors import to_bytes
from avsctl.data.labels import semantic_label

GRID = 56
"""Side of the grid on which errors are drawn: the stride 4 of a mask head at 224."""
RAMP = 0.05
"""How much severity an error takes from its first pixel to its full size."""
SOFTNESS = 0.4
"""Width of a border between 0.27 and 0.73, in cells of the grid."""
FADES = 0.15
"""Severity from which on the outline is no finer than the grid."""
FAR = 1e3
# The chance that an error has set in by severity s is s to this power: borders first, failures last.
MISSED, SILENT, GHOST, FAILED, COLLAPSED = 1.6, 1.0, 2.0, 2.5, 8.0


@dataclass(frozen=True)
class _Chances:
    """Random numbers of one frame that share half their variance with its clip's other frames."""

    seed: int
    uid: str
    frame: int

    def normal(self, purpose: str) -> float:
        """A standard normal number, the same for one purpose whoever asks and whenever."""
        clip, frame = (self.generator(purpose, of).standard_normal() for of in ("clip", self.frame))
        return float((clip + frame) / np.sqrt(2))

    def onset(self, purpose: str, power: float) -> float:
        """The severity at which an error sets in, so that by severity s it has with chance s ** power."""
        return float(ndtr(self.normal(purpose)) ** (1 / power)) * (1 - RAMP)

    def generator(self, purpose: str, of: str | int) -> np.random.Generator:
        return np.random.default_rng(int(hash_of(str(self.seed), self.uid, purpose, str(of)), 16))


@dataclass
class _Addition:
    """A region that does not sound and may get marked: its field, and when it sets in."""

    field: np.ndarray
    onset: float

    def at(self, severity: float) -> np.ndarray:
        return self.field - (1 - _ramp(severity, self.onset)) * (max(float(self.field.max()), 0.0) + 2.0)


class SimulatedFrame:
    """One labelled frame and all its possible errors.

    Args:
        target: (s, s) uint8, 1 where the ground truth sounds.
        classes: (H, W) uint8 class indices at any size; they part the sources that are missed one by one.
        elsewhere: (s, s) bool: what sounds in the clip's other frames.
        seed, uid, frame: what the errors follow from.
    """

    def __init__(
        self, target: np.ndarray, classes: np.ndarray, elsewhere: np.ndarray, *, seed: int, uid: str, frame: int
    ):
        self.target = target.astype(bool)
        self.side = min(GRID, len(target))
        chances = _Chances(seed, uid, frame)
        self._coarse = _shrink(self.target, self.side)
        self.empty = not self.target.any()
        self._distance = _signed_distance(self._coarse)
        sources, count = _sources(self._coarse, semantic_label(classes, self.side))
        self._radius = max(1.0, float(np.sqrt(self._coarse.sum() / max(count, 1) / np.pi)))
        noise = _smooth_noise(chances.generator("border", frame), self.side)
        self._border = self._radius * (0.25 * chances.normal("offset") + 0.35 * noise)
        if not self.empty:
            smoothed = ndimage.gaussian_filter(self._distance, 0.4 * self._radius, mode="nearest")
            self._border += smoothed - self._distance
        self._missed = _onsets_of_sources(sources, count, chances)
        self._additions = self._find_additions(_apart(_shrink(elsewhere, self.side), self._coarse), noise, chances)
        self._fails = chances.onset("failed", FAILED)
        self._collapses = chances.onset("collapsed", COLLAPSED)
        if chances.generator("kind", frame).random() < 0.4 or self.empty:
            self._additions.append(_Addition(_blob(chances.generator("blob", frame), noise), self._fails))
            self._fails = 1.0
        self._confidence = chances.generator("confidence", frame).uniform(0.7, 1.0)
        self._detail: np.ndarray | None = None

    def _find_additions(self, silent: np.ndarray, noise: np.ndarray, chances: _Chances) -> list[_Addition]:
        found = []
        if silent.sum() >= 4:
            field = _signed_distance(silent) + 0.3 * noise
            found.append(_Addition(field, chances.onset("silent", SILENT)))
        rng = chances.generator("ghost", chances.frame)
        field = _small_blob(rng, self.side) if self.empty else _copied_shape(rng, self._distance, self._coarse)
        found.append(_Addition(field + 0.1 * self._radius * noise, chances.onset("ghost", GHOST)))
        return found

    def coarse_iou(self, severities: np.ndarray) -> np.ndarray:
        """IoU at each severity on the coarse grid: nearly that of the whole picture, much sooner."""
        values = []
        for severity in severities:
            border, others, shift = self._fields(float(severity))
            values.append(_iou(np.maximum(self._distance + border, others) + shift > 0, self._coarse))
        return np.array(values)

    def iou(self, severity: float) -> float:
        """IoU of the stored decision, by AVSBench's rule."""
        return _iou(self.maps(severity) >= 128, self.target)

    def maps(self, severity: float) -> np.ndarray:
        """The prior at a severity: (s, s) uint8, 128 and more sounds."""
        if self._detail is None:
            exact = _enlarge(self._distance, len(self.target))
            # A small step at the true border, so that severity 0 is the truth to the pixel.
            self._detail = np.where(self.target, np.maximum(exact, 0.1), np.minimum(exact, -0.1)) - exact
        border, others, shift = self._fields(severity)
        size = len(self.target)
        field = _enlarge(self._distance + border, size) + max(0.0, 1 - severity / FADES) * self._detail
        field = np.maximum(field, _enlarge(others, size)) + shift
        return to_bytes(0.5 + self._confidence * (expit(field / SOFTNESS) - 0.5))

    def _fields(self, severity: float) -> tuple[np.ndarray, np.ndarray, float]:
        """What is added to the true distance, the field of all that is added to the picture, and a shift of both."""
        border = severity * self._border
        if self._missed is not None:
            depth = float((self._distance + border).max()) + 2.0
            border = border - _ramp(severity, self._missed) * depth
        others = np.max([addition.at(severity) for addition in self._additions], axis=0)
        lost = max(_ramp(severity, self._fails), 0.0 if self.empty else _ramp(severity, self._collapses))
        shift = 0.0
        if lost:
            shift = -lost * (max(float((self._distance + border).max()), float(others.max())) + 2.0)
        elif self.empty:
            shift = _ramp(severity, self._collapses) * (2.0 - float(others.min()))
        return border, others, shift


def _ramp(severity: float, onset: Any) -> Any:
    """How far something has set in, 0 to 1: a number or an array, as its onset is."""
    return np.clip((severity - onset) / RAMP, 0.0, 1.0)


def _iou(marked: np.ndarray, target: np.ndarray) -> float:
    """As `metrics.binary.frame_iou`, for one frame and without its checks."""
    if not target.any():
        return 1 - np.count_nonzero(marked) / marked.size
    return np.count_nonzero(marked & target) / np.count_nonzero(marked | target)


def _shrink(mask: np.ndarray, side: int) -> np.ndarray:
    """A mask on the coarse grid; what is smaller than a cell still marks one."""
    share = np.asarray(Image.fromarray(mask.astype(np.float32)).resize((side, side), Image.Resampling.BOX))
    marked = share >= 0.5
    return marked if marked.any() else share > 0


def _enlarge(field: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(field.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR))


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance to the border in cells, above 0 inside."""
    if not mask.any():
        return np.full(mask.shape, -FAR)
    inside = ndimage.distance_transform_edt(mask) if not mask.all() else np.full(mask.shape, float(len(mask)))
    return np.where(mask, inside - 0.5, 0.5 - ndimage.distance_transform_edt(~mask))


def _sources(mask: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, int]:
    """Connected regions of one class, numbered from 1 in the order of their class; and how many there are."""
    numbers, count = np.zeros(mask.shape, np.int64), 0
    for value in np.unique(classes[mask]):
        if value == 0:  # a border cell, whose middle is just outside; it goes to the source beside it
            continue
        regions, found = ndimage.label(mask & (classes == value))
        numbers[regions > 0] = regions[regions > 0] + count
        count += found
    return (numbers, count) if count else ndimage.label(mask)


def _onsets_of_sources(sources: np.ndarray, count: int, chances: _Chances) -> np.ndarray | None:
    """For each cell, when the source nearest to it starts to be missed."""
    if not count:
        return None
    nearest = ndimage.distance_transform_edt(sources == 0, return_distances=False, return_indices=True)
    onsets = np.array([chances.onset(f"missed {source}", MISSED) for source in range(1, count + 1)])
    return onsets[sources[tuple(nearest)] - 1]


def _apart(regions: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The connected regions that do not touch `mask`: other things, not the same one moved on."""
    numbers, _ = ndimage.label(regions)
    return regions & ~np.isin(numbers, np.unique(numbers[mask]))


def _smooth_noise(rng: np.random.Generator, side: int) -> np.ndarray:
    """Noise of two wavelengths with standard deviation 1."""
    long, short = (
        _enlarge(rng.standard_normal((cells, cells)), side) * weight for cells, weight in ((6, 1.0), (15, 0.7))
    )
    noise = long + short
    return (noise - noise.mean()) / (noise.std() + 1e-6)


def _blob(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
    """A region over half the picture or more."""
    side = len(noise)
    y, x = np.indices(noise.shape) / side - rng.normal(0.5, 0.1, 2)[:, None, None]
    return side * (rng.uniform(0.35, 0.6) - np.hypot(x, y * rng.uniform(0.8, 1.3))) + 0.04 * side * noise


def _small_blob(rng: np.random.Generator, side: int) -> np.ndarray:
    """An ellipse of an object's size."""
    y, x = np.indices((side, side)) / side - rng.uniform(0.2, 0.8, 2)[:, None, None]
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 2.0)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return side * (rng.uniform(0.08, 0.2) - np.hypot(along / stretch, across))


def _copied_shape(rng: np.random.Generator, distance: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The frame's own shape in another place, size and direction: of four tries the one farthest off the truth."""
    side = len(mask)
    centre = np.argwhere(mask).mean(axis=0)
    best, least = distance, np.inf
    for _ in range(4):
        place, scale, mirrored = rng.uniform(0.1, 0.9, 2) * side, rng.uniform(0.5, 1.0), rng.random() < 0.5
        y, x = (np.indices(mask.shape) - place[:, None, None]) / scale
        rows = np.rint(centre[0] + y).astype(int)
        columns = np.rint(centre[1] + (-x if mirrored else x)).astype(int)
        within = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
        field = np.where(within, distance[rows.clip(0, side - 1), columns.clip(0, side - 1)] * scale, -float(side))
        overlap = np.count_nonzero((field > 0) & mask) - 0.1 * np.count_nonzero(field > 0)
        if overlap < least:
            best, least = field, overlap
    return best
