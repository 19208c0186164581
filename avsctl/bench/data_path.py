"""Reading an epoch from the caches, against decoding AVSBench's folder and computing VGGish each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from avsctl.bench.clips import SUBSET, draw_clips
from avsctl.bench.harness import Result, Settings, in_turn, require_equal, seconds
from avsctl.bench.memory import in_own_process
from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache
from avsctl.configs import LABEL_SIZE
from avsctl.data.layouts import open_dataset
from avsctl.data.media import decode_sound
from avsctl.data.samples import ClipSamples
from avsctl.stages.extract_audio import extract_audio
from avsctl.stages.prepare import prepare
from avsctl_models.audio.encoders import AudioEncoder, encoder
from avsctl_models.audio.vggish import Vggish

SIZE = (1280, 720)
IMAGE_SIZE = 384
SOUND_AGREEMENT = 1e-4

Clip = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Frames (T, 3, 384, 384) uint8, labels (T, 224, 224) uint8, sound (T, 128) float32."""


def run(settings: Settings) -> list[Result]:
    """Time a pass over 720p clips: frames as they are, and decoded at the model's size."""
    count = 2 if settings.quick else 8
    root = draw_clips(settings.scratch / "drawn", count, SIZE)
    weights = make_vggish(settings.scratch / "vggish.safetensors")
    results = []
    for name, target, cache_size in (("data-path", 10, None), ("data-path-decoded", 30, IMAGE_SIZE)):
        folder = settings.scratch / name
        clips = prepare(open_dataset(root), folder / "clips.h5", workers=1, cache_size=cache_size)
        extract_audio(clips, folder / "audio.h5", encoder_name="vggish", weights=weights, workers=1)
        results.append(_compare(settings, name, target, folder, root, weights))
    return results


def make_vggish(path: Path) -> Path:
    """A file of VGGish with random weights: what it hears is of no use, how long it takes is what VGGish takes."""
    torch.manual_seed(0)
    save_file(Vggish().state_dict(), path)
    return path


def _compare(settings: Settings, name: str, target: float, folder: Path, root: Path, weights: Path) -> Result:
    ours = FromCaches(folder)
    peer = FromFolder(root, encoder("vggish", weights), ours.uids)
    for number in range(len(peer)):
        require_same(ours[number], peer[number])
    ours_s, peer_s = in_turn(partial(read_all, ours), partial(read_all, peer), settings.rounds(5, 2))
    return Result(
        name=name,
        ours_s=ours_s,
        peer_s=peer_s,
        target=target,
        unit="clips",
        count=len(peer),
        peer="files of the folder decoded and resized, VGGish computed, for every clip",
        checked="frames and labels to the last bit, embeddings within 1e-4",
        ours_bytes=in_own_process(_cached_alone, folder, threads=settings.threads).peak_bytes,
        peer_bytes=in_own_process(_folder_alone, root, weights, ours.uids, threads=settings.threads).peak_bytes,
        details={
            "clips_h5_bytes": (folder / "clips.h5").stat().st_size,
            "pictures_s": seconds(partial(_every, peer, FromFolder.frames)),
            "vggish_s": seconds(partial(_every, peer, FromFolder.sound)),
        },
    )


def _every(clips: FromFolder, part: Callable[[FromFolder, int], object]) -> None:
    """One part of the plain way alone, for every clip."""
    for number in range(len(clips)):
        part(clips, number)


class FromCaches:
    """Clips from `clips.h5` and `audio.h5`."""

    def __init__(self, folder: Path):
        clips, audio = ClipCache(folder / "clips.h5"), AudioCache(folder / "audio.h5")
        self.uids = clips.uids
        self.samples = ClipSamples(
            clips, audio, range(len(clips)), task="avs", image_size=IMAGE_SIZE, binary_labels="nearest"
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> Clip:
        batch = self.samples[number]
        return batch.frames.numpy(), batch.labels.numpy(), batch.audio.numpy()


class FromFolder:
    """Clips as the released readers give them: pictures decoded and resized, sound through VGGish, each time."""

    def __init__(self, root: Path, vggish: AudioEncoder, uids: Sequence[str]):
        self.folders = [root / SUBSET / uid for uid in uids]
        self.vggish = vggish

    def __len__(self) -> int:
        return len(self.folders)

    def __getitem__(self, number: int) -> Clip:
        folder = self.folders[number] / "labels_semantic"
        labels = np.stack([_label(folder / f"{t}.png") for t in self._seconds(number)])
        return self.frames(number), labels.astype(np.uint8), self.sound(number)

    def frames(self, number: int) -> np.ndarray:
        """Decoded and resized, (T, 3, 384, 384)."""
        folder = self.folders[number] / "frames"
        frames = np.stack([_frame(folder / f"{t}.jpg") for t in self._seconds(number)])
        return np.ascontiguousarray(frames.transpose(0, 3, 1, 2))

    def sound(self, number: int) -> np.ndarray:
        """What VGGish makes of it, (T, 128)."""
        wave = (self.folders[number] / "audio.wav").read_bytes()
        return self.vggish.encode(*decode_sound(wave), len(self._seconds(number)))

    def _seconds(self, number: int) -> range:
        return range(len(list((self.folders[number] / "frames").iterdir())))


def read_all(clips: FromCaches | FromFolder) -> None:
    """An epoch of reading."""
    for number in range(len(clips)):
        clips[number]


def _frame(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB").resize((IMAGE_SIZE,) * 2, Image.Resampling.BILINEAR))


def _label(path: Path) -> np.ndarray:
    """What sounds, by nearest neighbour, as AVSBench's own readers have it."""
    with Image.open(path) as picture:
        return np.asarray(picture.resize((LABEL_SIZE,) * 2, Image.Resampling.NEAREST)) != 0


def require_same(ours: Clip, peer: Clip) -> None:
    """Raise UnequalWork unless two clips are the same, the sound but for rounding."""
    for name, one, other in zip(("frames", "labels"), ours[:2], peer[:2], strict=True):
        require_equal(np.array_equal(one, other), f"their {name}")
    require_equal(bool(np.allclose(ours[2], peer[2], atol=SOUND_AGREEMENT)), "their audio embeddings")


def _cached_alone(folder: Path) -> Callable[[], None]:
    return partial(read_all, FromCaches(folder))


def _folder_alone(root: Path, weights: Path, uids: Sequence[str]) -> Callable[[], None]:
    return partial(read_all, FromFolder(root, encoder("vggish", weights), uids))
