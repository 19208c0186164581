"""The items of the benchmark by name; importing this does not load torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Item:
    """One entry of the benchmark.

    Args:
        name: short and stable; its results are called so, perhaps with a variant behind.
        what: what is timed against what, and the target.
        module: of `avsctl.bench`, with a function `run(settings, **options)`.
        needs_transformers: whether the peer is Hugging Face's.
    """

    name: str
    what: str
    module: str
    options: dict[str, Any] = field(default_factory=dict)
    needs_transformers: bool = False


_PEER = "against transformers' Mask2Former with the same weights"

ITEMS = (
    Item(
        "training-step-paper",
        f"a step of stage 1's first phase at the paper's size (swin-b-384), {_PEER} and the same parts frozen: "
        "1.5 times as fast in float32, 3 times in bf16",
        "training_step",
        {"preset": "swin-b-384"},
        needs_transformers=True,
    ),
    Item(
        "training-step-tiny",
        f"a step that trains all of tiny (with the deformable pixel decoder), {_PEER}: 1.5 and 3 times as fast",
        "training_step",
        {"preset": "tiny"},
        needs_transformers=True,
    ),
    Item(
        "s4-labelled",
        "a step on a clip of S4 at the paper's size, its labelled frame once (--s4-frames labelled) against the five "
        "copies of the released code: 4 times as fast",
        "s4_labelled",
    ),
    Item(
        "frozen-features",
        "an epoch of the first phase at the paper's size from the frozen backbone's cached maps (--cache-features) "
        "against computing them: 2.5 times as fast",
        "frozen_features",
    ),
    Item(
        "data-path",
        "an epoch of reading 720p clips from clips.h5 and audio.h5 against decoding the folder and computing VGGish "
        "each time: 10 times as fast, with --cache-size 384 30 times",
        "data_path",
    ),
    Item(
        "label-decoding",
        "label colours to class indices against one comparison per class: 20 times as fast",
        "label_decoding",
    ),
    Item(
        "prepare-scaling",
        "prepare with a process per core against one process: 0.9 times the number of cores",
        "prepare_scaling",
    ),
    Item(
        "metrics",
        "every score of sounding masks in one pass against 255 comparisons per frame: 50 times as fast",
        "metrics",
    ),
    Item(
        "inference-paper",
        f"class maps of clips at the paper's size, {_PEER} in float32: 1.3 times as fast in float32, 2.8 in bf16",
        "inference",
        {"preset": "swin-b-384"},
        needs_transformers=True,
    ),
    Item(
        "inference-tiny",
        f"class maps of clips with tiny, {_PEER} in float32: 1.3 and 2.8 times as fast",
        "inference",
        {"preset": "tiny"},
        needs_transformers=True,
    ),
    Item(
        "inference-commands",
        "predict-priors and evaluate with the paper's model (--quick: with tiny) against a plain loop over the clips "
        "with the peer: 1.3 times as fast in float32, 2.8 in bf16",
        "inference_commands",
        needs_transformers=True,
    ),
    Item(
        "inference-visualize",
        "visualize with the paper's model (--quick: with tiny) against decoding the video and the peer's class maps "
        "alone: 1.3 times as fast in float32, 2.8 in bf16",
        "visualize_command",
        needs_transformers=True,
    ),
    Item(
        "growth",
        "prepare, extract-audio and evaluate on 100, 1,000 and 10,000 clips: time at least 0.9 times linear, peak "
        "memory within 10 %",
        "growth",
    ),
)


def chosen_items(names: Sequence[str]) -> list[Item]:
    """The items of these names, in the benchmark's order; a name also means all items that begin with it.

    Args:
        names: none means all.
    Raises: ValueError: If no item has one of the names.
    """
    unknown = [name for name in names if not any(_means(name, item) for item in ITEMS)]
    if unknown:
        known = ", ".join(item.name for item in ITEMS)
        raise ValueError(f"there is no item {', '.join(unknown)}; there are: {known}")
    return [item for item in ITEMS if not names or any(_means(name, item) for name in names)]


def _means(name: str, item: Item) -> bool:
    return item.name == name or item.name.startswith(f"{name}-")
