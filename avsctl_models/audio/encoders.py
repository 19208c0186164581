"""Audio encoders by name: a wave in, one embedding per video frame (second) out.

Rules shared by all encoders, so that no frame is ever left without its embedding:

- A clip with less than a second of sound is filled up to one second with silence.
- Seconds after the end of the sound repeat the last embedding there is (Stepping Stones' rule).
- Sound after the last frame is left out.

Where the embeddings lie in time differs by encoder: `vggish` follows the released pipelines, whose examples
are 0.96 s long and 0.96 s apart, so embedding i starts at 0.96 i seconds; `logmel` and `yamnet` describe
second [i, i + 1).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from avsctl_models.audio import frontend, logmel

ENCODERS = ("vggish", "logmel", "yamnet")


def encoder(name: str, weights: Path | None = None) -> AudioEncoder:
    """Build an audio encoder.

    Args:
        name: one of `ENCODERS`.
        weights: the network's file (`.safetensors` or `.pth`); None for `logmel`, which has no weights.
    Raises: ValueError: If the name is unknown, weights are missing or given to an encoder without any, or the
        file does not fit the network.
    """
    if name not in ENCODERS:
        raise ValueError(f"unknown audio encoder {name!r}: choose from {', '.join(ENCODERS)}")
    if name == "logmel":
        if weights is not None:
            raise ValueError(f"the logmel encoder has no weights to load from {weights}")
        return LogMelEncoder()
    if weights is None:
        raise ValueError(f"the {name} encoder needs a weights file; logmel needs none")
    return VggishEncoder(weights) if name == "vggish" else YamnetEncoder(weights)


class AudioEncoder(ABC):
    """One embedding per frame of a clip; frames are one second apart."""

    name: str
    dim: int
    needs_weights: bool

    def encode(self, wave: np.ndarray, rate: int, frames: int) -> np.ndarray:
        """Embed a clip.

        Args:
            wave: (samples,) or (samples, channels); floats in [-1, 1] or signed integers of full range.
            rate: samples per second, a whole number from 1000 to 768000.
            frames: how many embeddings to return, one per second from the start.
        Returns: (frames, dim) float32.
        Raises: ValueError: If the wave is empty or holds NaN or infinity, the rate is not a whole number
            above 0, or frames is below 1.
        """
        _check_frames(frames)
        sound = frontend.mono_16k(wave, rate)
        sound = sound[: (frames + 1) * frontend.RATE]  # the second after the last frame completes its windows
        missing = max(0, frontend.RATE - sound.shape[0])
        return _fit(self._embed(np.pad(sound, (0, missing))), frames)

    def encode_examples(self, examples: np.ndarray, frames: int) -> np.ndarray:
        """Embed a clip of which only VGGish's log-mel examples are kept (AVSBench-object's pickles).

        Args:
            examples: (k, 96, 64) or (k, 1, 96, 64) log-mel values with offset 0.01, k >= 1.
            frames: how many embeddings to return.
        Returns: (frames, dim) float32.
        Raises: ValueError: If the shape is another, values are not finite, or frames is below 1.
        """
        _check_frames(frames)
        shape = np.shape(examples)
        size = (frontend.EXAMPLE, frontend.BANDS)
        if shape[1:] not in (size, (1, *size)) or shape[0] == 0:
            raise ValueError(f"examples of shape {shape}: expected (k, {size[0]}, {size[1]}), k at least 1")
        examples = np.asarray(examples, np.float32).reshape(-1, *size)
        if not np.isfinite(examples).all():
            raise ValueError("the log-mel examples hold NaN or infinite values")
        return _fit(self._embed_examples(examples[:frames]), frames)

    @abstractmethod
    def _embed(self, sound: np.ndarray) -> np.ndarray:
        """Embed 16 kHz sound of a second or more: (at least 1, dim)."""

    @abstractmethod
    def _embed_examples(self, examples: np.ndarray) -> np.ndarray:
        """Embed (k, 96, 64) log-mel examples with offset 0.01: (k, dim)."""


class LogMelEncoder(AudioEncoder):
    """Levels and movements of each second [i, i + 1); no weights, and no torch (see `logmel.summarise`).

    A last second of which less than half is there repeats the one before.
    """

    name = "logmel"
    dim = logmel.DIM
    needs_weights = False

    def _embed(self, sound: np.ndarray) -> np.ndarray:
        return logmel.seconds(frontend.log_mel(sound, frontend.RATE))

    def _embed_examples(self, examples: np.ndarray) -> np.ndarray:
        return logmel.summarise(examples.astype(np.float64))


class VggishEncoder(AudioEncoder):
    """VGGish's 128 signed values before its last ReLU, one per example of 0.96 s (see `vggish`)."""

    name = "vggish"
    dim = 128
    needs_weights = True

    def __init__(self, weights: Path) -> None:
        from avsctl_models.audio.vggish import load_vggish

        self._network = load_vggish(weights)

    def _embed(self, sound: np.ndarray) -> np.ndarray:
        return self._embed_examples(frontend.examples(frontend.log_mel(sound, frontend.RATE)))

    def _embed_examples(self, examples: np.ndarray) -> np.ndarray:
        return self._network.embed(examples)


class YamnetEncoder(AudioEncoder):
    """YAMNet's 1024 values: the mean over the patches of 0.96 s centred in each second (see `yamnet`).

    From VGGish's log-mel examples, which do not overlap, it takes one patch per example.
    """

    name = "yamnet"
    dim = 1024
    needs_weights = True

    def __init__(self, weights: Path) -> None:
        from avsctl_models.audio.yamnet import load_yamnet

        self._network = load_yamnet(weights)

    def _embed(self, sound: np.ndarray) -> np.ndarray:
        from avsctl_models.audio.yamnet import HOP, second_means

        spectrogram = frontend.log_mel(sound, frontend.RATE, frontend.YAMNET_OFFSET)
        return second_means(self._network.embed(frontend.examples(spectrogram, HOP)))

    def _embed_examples(self, examples: np.ndarray) -> np.ndarray:
        magnitude = np.maximum(np.exp(examples) - frontend.VGGISH_OFFSET, 0.0)
        return self._network.embed(np.log(magnitude + frontend.YAMNET_OFFSET))


def _check_frames(frames: int) -> None:
    if frames < 1:
        raise ValueError(f"{frames} frames: expected 1 or more")


def _fit(embeddings: np.ndarray, frames: int) -> np.ndarray:
    """Repeat the last embedding, or drop those after the last frame: (frames, dim)."""
    rows = np.minimum(np.arange(frames), embeddings.shape[0] - 1)
    return np.ascontiguousarray(embeddings[rows], dtype=np.float32)
