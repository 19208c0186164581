"""What happens in a clip: which objects are where and sound when; and the pictures and sound of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..palette import CLASS_NAMES
from .backgrounds import Background
from .objects import DRAWINGS, Paint, draw_object
from .sounds import perform, room_noise

NAMES = tuple(DRAWINGS)
SECONDS = {"v1s": 5, "v1m": 5, "v2": 10}
SIDES = {1: (0.4, 0.58), 2: (0.36, 0.5), 3: (0.32, 0.42)}  # of the frame's shorter side, by number of objects
MAX_OVERLAP = 0.12  # of the smaller object's square: the lower object stays about 60 % visible, or more
QUIET_SECOND = 0.03  # share of the seconds of v1m clips in which nothing sounds


@dataclass(frozen=True)
class Actor:
    """One object of a clip, and where it is in each second."""

    name: str
    paint: Paint
    side: float  # of the frame's shorter side
    track: np.ndarray  # (seconds, 2) centre as x, y in [0, 1] of the frame
    angles: np.ndarray  # (seconds,) degrees
    poses: np.ndarray  # (seconds,) in [-1, 1]
    flipped: bool


@dataclass(frozen=True)
class Scene:
    """A planned clip: `active[k, i]` says whether actor k sounds in second i; later actors are in front."""

    actors: tuple[Actor, ...]
    active: np.ndarray

    @property
    def sounding_names(self) -> list[str]:
        """Names of the objects that sound at some time, in the order of the class list."""
        heard = {actor.name for actor, flags in zip(self.actors, self.active, strict=True) if flags.any()}
        return sorted(heard, key=CLASS_NAMES.index)


def plan_scene(rng: np.random.Generator, subset: str, number: int, aspect: float = 1.0) -> Scene:
    """Choose objects, places and sounding seconds of one clip.

    Args:
        rng: all choices come from it.
        subset: "v1s" (one object that sounds throughout), "v1m" (two or three, some of them silent) or "v2"
            (ten seconds, sources start and stop).
        number: the clip's number; by it the classes take turns.
        aspect: width of the frame divided by its height.
    """
    seconds = SECONDS[subset]
    count = {"v1s": 1, "v1m": int(rng.integers(2, 4)), "v2": int(rng.integers(1, 4))}[subset]
    first = NAMES[number % len(NAMES)]  # in turn, so that a small set has them all
    others = rng.permutation([name for name in NAMES if name != first])
    names = rng.permutation([first, *others[: count - 1]])
    side, tracks = _place(rng, count, seconds, aspect)
    actors = tuple(_actor(rng, str(name), side[k], tracks[k]) for k, name in enumerate(names))
    sounding = {"v1s": _always, "v1m": _some_of_them, "v2": _start_and_stop}[subset]
    return Scene(actors, sounding(rng, count, seconds))


def _actor(rng: np.random.Generator, name: str, side: float, track: np.ndarray) -> Actor:
    seconds = len(track)
    hue = float(rng.uniform())
    paint = Paint.from_hue(hue, rng.uniform(0.35, 0.85), rng.uniform(0.5, 0.95), hue + rng.uniform(0.2, 0.8))
    at = np.arange(seconds)
    sway = rng.uniform(2, 9) * np.sin(at * rng.uniform(0.6, 1.6) + rng.uniform(0, 6))
    poses = np.sin(at * rng.uniform(0.9, 2.2) + rng.uniform(0, 6))
    return Actor(name, paint, side, track, rng.uniform(-14, 14) + sway, poses, bool(rng.integers(2)))


def _place(rng: np.random.Generator, count: int, seconds: int, aspect: float) -> tuple[np.ndarray, np.ndarray]:
    """Sizes (count,) and centres (count, seconds, 2) of objects that stay inside and hardly overlap."""
    low, high = SIDES[count]
    for attempt in range(400):
        shrink = 0.985 ** (attempt // 8)
        side = rng.uniform(low, high, count) * shrink
        half = 0.5 * side[:, None] / np.array([max(aspect, 1.0), max(1 / aspect, 1.0)])  # (count, 2)
        centre = half + rng.uniform(size=(count, 2)) * (1 - 2 * half)
        reach = rng.uniform(0.02, 0.14, (count, 2)) * shrink
        pace, phase = rng.uniform(0.5, 1.5, (count, 1, 2)), rng.uniform(0, 6, (count, 1, 2))
        swing = np.sin(pace * np.arange(seconds)[:, None] + phase)
        tracks = centre[:, None] + reach[:, None] * swing
        tracks = np.clip(tracks, half[:, None], 1 - half[:, None])
        if _worst_overlap(tracks, half) <= MAX_OVERLAP:
            break
    return side, tracks


def _worst_overlap(tracks: np.ndarray, half: np.ndarray) -> float:
    """The largest share of the smaller of two squares that the other covers, over all pairs and seconds."""
    worst = 0.0
    for a in range(len(tracks)):
        for b in range(a):
            low = np.maximum(tracks[a] - half[a], tracks[b] - half[b])
            high = np.minimum(tracks[a] + half[a], tracks[b] + half[b])
            shared = np.clip(high - low, 0, None).prod(axis=1)
            worst = max(worst, float(shared.max() / min(4 * half[a].prod(), 4 * half[b].prod())))
    return worst


def _always(rng: np.random.Generator, count: int, seconds: int) -> np.ndarray:
    return np.ones((count, seconds), dtype=bool)


def _some_of_them(rng: np.random.Generator, count: int, seconds: int) -> np.ndarray:
    """One or two objects sound, seldom all of three; in two of five clips others take over midway."""
    everyone = rng.uniform() < 0.08
    chosen = np.ones(count, dtype=bool) if everyone else _choose(rng, count, int(rng.integers(1, count)))
    active = np.repeat(chosen[:, None], seconds, axis=1)
    if rng.uniform() < 0.4:
        turn = int(rng.integers(1, seconds))
        active[:, turn:] = _choose(rng, count, int(rng.integers(1, count)))[:, None]
    active[:, rng.uniform(size=seconds) < QUIET_SECOND] = False
    if not active.any():
        active[:, 0] = chosen
    return active


def _start_and_stop(rng: np.random.Generator, count: int, seconds: int) -> np.ndarray:
    """Each object sounds in bouts of three to six seconds; of several objects one may stay silent."""
    active = np.zeros((count, seconds), dtype=bool)
    silent = int(rng.integers(count)) if count > 1 and rng.uniform() < 0.5 else -1
    for k in range(count):
        if k == silent:
            continue
        start = int(rng.integers(0, 3))
        while start < seconds:
            stop = start + int(rng.integers(3, 7))
            active[k, start:stop] = True
            start = stop + int(rng.integers(1, 4))
    return active


def _choose(rng: np.random.Generator, count: int, chosen: int) -> np.ndarray:
    return rng.permutation(count) < chosen


def render_frames(
    scene: Scene, rng: np.random.Generator, size: tuple[int, int]
) -> Iterator[tuple[Image.Image, np.ndarray]]:
    """Paint a clip second by second.

    Args:
        size: width and height in pixels.
    Returns: for each second the frame (RGB) and its label, (H, W) uint8 class indices of what is
        seen and sounds.
    """
    width, height = size
    background = Background(rng, size)
    for second in range(scene.active.shape[1]):
        frame = background.frame(second)
        label = np.zeros((height, width), dtype=np.uint8)
        for actor, flags in zip(scene.actors, scene.active, strict=True):
            sprite = _sprite(actor, second, size)
            x = round(actor.track[second, 0] * width - sprite.width / 2)
            y = round(actor.track[second, 1] * height - sprite.height / 2)
            frame.paste(sprite, (x, y), sprite)
            shape = Image.new("L", size)
            shape.paste(sprite.getchannel("A"), (x, y))
            label[np.asarray(shape) >= 128] = CLASS_NAMES.index(actor.name) if flags[second] else 0
        yield background.expose(frame), label


def _sprite(actor: Actor, second: int, size: tuple[int, int]) -> Image.Image:
    side = max(8, round(actor.side * min(size)))
    return draw_object(
        actor.name, actor.paint, side, float(actor.poses[second]), float(actor.angles[second]), actor.flipped
    )


def render_sound(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """The clip's sound: the sum of what sounds, over faint noise; (16000 * seconds,) int16 at 16 kHz."""
    mix = room_noise(rng, scene.active.shape[1])
    for actor, flags in zip(scene.actors, scene.active, strict=True):
        if flags.any():
            mix = mix + perform(actor.name, rng, flags)
    mix = mix * min(1.0, 0.98 / float(np.abs(mix).max()))
    return np.round(mix * 32767).astype("<i2")
