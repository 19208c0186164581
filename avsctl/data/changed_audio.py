"""Other sound for the same pictures: what a model is scored on to see whether it listens.

| change | the model hears |
|---|---|
| `original` | the clip's own sound |
| `silence` | zeros |
| `noise` | white noise as loud (RMS) as the clip |
| `other-clip` | another clip of the same split and subset, of other classes and another video where there is one |
| `shift:S` | the sound S seconds later (earlier where S is negative), silence where nothing is left |
| `snr:DB` | the sound with white noise at this signal-to-noise ratio |

Changed sound is mixed to one channel first. Noise is drawn for each clip from the seed and the clip's uid, so
that it doesn't depend on which other clips are scored.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsctl.caches.files import hash_of
from avsctl.errors import AvsctlError

PLAIN_CHANGES = ("original", "silence", "noise", "other-clip")
LIMITS = {"shift": (3600.0, "seconds"), "snr": (100.0, "decibels")}
"""Largest absolute value of a change with a number, and its unit."""


@dataclass(frozen=True)
class SoundChange:
    """What happens to the sound of every clip.

    Args:
        kind: one of `PLAIN_CHANGES`, `shift` or `snr`.
        amount: seconds of `shift`, decibels of `snr`, else 0.
    """

    kind: str
    amount: float = 0.0

    @classmethod
    def parse(cls, text: str) -> SoundChange:
        """Read `silence`, `shift:0.5`, `snr:-5` and the like.

        Raises: AvsctlError: If there is no such change, or its number is missing or out of range.
        """
        kind, colon, number = text.partition(":")
        if kind in PLAIN_CHANGES and not colon:
            return cls(kind)
        if kind not in LIMITS:
            raise AvsctlError(f"No sound change {text}. Choose one of {', '.join(PLAIN_CHANGES)}, shift:S or snr:DB.")
        limit, unit = LIMITS[kind]
        try:
            amount = float(number)
        except ValueError:
            amount = math.nan
        if not abs(amount) <= limit:
            raise AvsctlError(
                f"--audio {text}: {kind} takes {unit} from {-limit:g} to {limit:g}, such as {kind}:2, not {number!r}."
            )
        return cls(kind, amount + 0.0)  # -0 is 0

    @property
    def name(self) -> str:
        """As it is typed; two spellings of a number have one name."""
        return f"{self.kind}:{self.amount:g}" if self.kind in LIMITS else self.kind

    @property
    def random(self) -> bool:
        """Whether a seed changes the result."""
        return self.kind in ("noise", "other-clip", "snr")

    def apply(self, wave: np.ndarray, rate: int, uid: str, seed: int) -> np.ndarray:
        """Change a sound.

        Args:
            wave: (samples,) or (samples, channels) floats; rate: samples per second.
        Returns: (samples,) float32 of the same length. Noise may go beyond [-1, 1]; a silent clip stays silent.
        Raises: ValueError: If the change isn't one of a single sound (`other-clip`).
        """
        mono = np.asarray(wave, np.float64).reshape(len(wave), -1).mean(1)
        if self.kind == "original":
            changed = mono
        elif self.kind == "silence":
            changed = np.zeros_like(mono)
        elif self.kind == "shift":
            changed = _shift(mono, round(self.amount * rate))
        elif self.kind in ("noise", "snr"):
            noise = _noise(len(mono), _rms(mono), f"{seed}", uid)
            changed = noise if self.kind == "noise" else mono + noise * 10 ** (-self.amount / 20)
        else:
            raise ValueError(f"{self.kind} does not change a single sound")
        return changed.astype(np.float32)


@dataclass(frozen=True)
class ChangedAudio:
    """Embeddings of changed sound, to be read like an `AudioCache`.

    Args:
        embeddings: (T, dim) float32 by uid.
        encoder, dim, path: of the cache whose place it takes.
    """

    embeddings: Mapping[str, np.ndarray]
    encoder: str
    dim: int
    path: Path

    def embedding(self, uid: str) -> np.ndarray:
        """(T, dim) float32 of a clip.

        Raises: AvsctlError: If the clip's sound was not changed.
        """
        if uid not in self.embeddings:
            raise AvsctlError(f"The sound of clip {uid} was not changed; give this clip to the change as well.")
        return self.embeddings[uid]


def fit_length(embedding: np.ndarray, frames: int) -> np.ndarray:
    """Bring another clip's (T, D) embedding to (frames, D): cut it, or start again from its beginning."""
    return embedding[np.arange(frames) % len(embedding)]


def other_clips(
    uids: Sequence[str], videos: Sequence[str], classes: Sequence[Collection[int]], seed: int
) -> dict[str, str]:
    """Choose for each clip of a split and subset the clip whose sound it gets.

    The clips stand in a circle in a seeded order; each takes the next one that shares the fewest sounding classes
    with it (none, where there is such a clip), of another video first.

    Args:
        uids, videos: of all clips of a split and subset.
        classes: the classes that sound in each.
    Returns: the donor's uid by uid.
    Raises: ValueError: If there are fewer than two clips.
    """
    if len(uids) < 2:
        raise ValueError("another clip's sound needs at least two clips")
    order = np.random.default_rng(_seed_of(f"{seed}", "other-clip")).permutation(len(uids))
    sets = [frozenset(one) for one in classes]
    donors = {}
    for place, clip in enumerate(order):
        following = np.concatenate([order[place + 1 :], order[:place]])
        best, best_cost = -1, (math.inf, 1)
        for other in following:
            cost = (len(sets[other] & sets[clip]), int(videos[other] == videos[clip]))
            if cost < best_cost:
                best, best_cost = int(other), cost
            if best_cost == (0, 0):
                break
        donors[uids[clip]] = uids[best]
    return {uid: donors[uid] for uid in uids}


def _shift(wave: np.ndarray, samples: int) -> np.ndarray:
    shifted = np.zeros_like(wave)
    if abs(samples) >= len(wave):
        return shifted
    if samples >= 0:
        shifted[samples:] = wave[: len(wave) - samples]
    else:
        shifted[:samples] = wave[-samples:]
    return shifted


def _rms(wave: np.ndarray) -> float:
    return float(np.sqrt(np.mean(wave**2)))


def _noise(samples: int, loudness: float, *seed: str) -> np.ndarray:
    """White noise of exactly this RMS."""
    noise = np.random.default_rng(_seed_of(*seed)).standard_normal(samples)
    return noise * (loudness / _rms(noise))


def _seed_of(*parts: str) -> int:
    return int(hash_of(*parts), 16)
