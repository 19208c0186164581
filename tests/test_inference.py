"""Clips go through the network in pieces of bounded memory that keep whole clips together."""

from __future__ import annotations

import torch
from torch import nn

from avsctl.inference import FRAMES_AT_ONCE, class_maps
from avsctl_models import DenseOutput


class Recorder(nn.Module):
    """Says "sounding" where the audio is positive, and remembers the lengths it was called with."""

    def __init__(self, image_size: int):
        super().__init__()
        self.image_size = image_size
        self.weight = nn.Parameter(torch.ones(1))
        self.calls: list[list[int]] = []

    def normalize(self, frames):
        return frames.float()

    def forward(self, frames, audio, prior, *, lengths):
        assert len(frames) == len(audio) == sum(lengths)
        self.calls.append(lengths)
        return DenseOutput(audio[:, :1, None, None].expand(-1, 1, 8, 8), (8, 8))


def calls(frames: int, lengths: list[int] | None, image_size: int = 8) -> list[list[int]]:
    model, audio = Recorder(image_size), torch.linspace(-1, 1, frames)[:, None]
    maps = class_maps(model, torch.zeros(frames, 3, 8, 8, dtype=torch.uint8), audio, lengths=lengths, size=4)
    torch.testing.assert_close(maps[:, 1], audio.sigmoid()[:, :, None].expand(-1, 4, 4))
    return model.calls


def test_clips_are_kept_whole_where_they_fit():
    assert calls(25, [10, 5, 10]) == [[10, 5], [10]]
    assert calls(20, [5] * 4) == [[5] * 4]


def test_a_clip_of_more_frames_is_cut_where_windows_of_five_end():
    assert calls(48, [3, 45]) == [[3], [20], [20], [5]]
    assert calls(45, None) == [[20], [20], [5]]
    assert FRAMES_AT_ONCE % 5 == 0


def test_fewer_large_frames_are_computed_together_on_a_cpu():
    assert calls(20, [5] * 4, image_size=224) == [[5, 5], [5, 5]]
    assert calls(17, [10, 7], image_size=384) == [[5], [5], [5], [2]]
    assert calls(10, [10], image_size=1000) == [[5], [5]]
