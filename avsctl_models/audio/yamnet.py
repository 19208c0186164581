"""YAMNet: log-mel patches to 1024 numbers, batch norm folded into the convolutions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avsctl_models.audio.frontend import EXAMPLE, HOP as FRAME_HOP, RATE, WINDOW
from avsctl_models.registry import load_strictly
from avsctl_models.weights.files import read_weights

DIM = 1024
CLASSES = 521  # AudioSet
HOP = 48  # frames between patches, 0.48 s
WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
BATCH = 64


class Yamnet(nn.Module):
    """A 3x3 convolution and 13 depthwise-separable layers, pooled to one vector per patch.

    Parameters: `conv1`, `layers.{0..12}.{dw,pw}` and `classifier`, all with bias; 3.7 M.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, stride=2)
        inputs = (32, *WIDTHS[:-1])
        self.layers = nn.ModuleList(_Separable(*sizes) for sizes in zip(inputs, WIDTHS, STRIDES, strict=True))
        self.classifier = nn.Linear(DIM, CLASSES)

    def forward(self, patches: Tensor) -> Tensor:
        """Embed patches.

        Args:
            patches: (N, 1, 96, 64) log-mel values with offset 0.001, time before frequency.
        Returns: (N, 1024), at least 0. `classifier` and a sigmoid make AudioSet's class scores of them.
        """
        maps = F.relu(self.conv1(_same_padding(patches, 2)))
        for layer in self.layers:
            maps = layer(maps)
        return maps.mean(dim=(2, 3))

    @torch.inference_mode()
    def embed(self, patches: np.ndarray) -> np.ndarray:
        """Embed any number of patches in batches: (N, 96, 64) float32 to (N, 1024) float32."""
        batches = torch.from_numpy(np.ascontiguousarray(patches, np.float32))[:, None].split(BATCH)
        return torch.cat([self(batch) for batch in batches]).numpy()


class _Separable(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.dw = nn.Conv2d(inputs, inputs, 3, stride=stride, groups=inputs)
        self.pw = nn.Conv2d(inputs, outputs, 1)

    def forward(self, maps: Tensor) -> Tensor:
        maps = F.relu(self.dw(_same_padding(maps, self.stride)))
        return F.relu(self.pw(maps))


def _same_padding(maps: Tensor, stride: int) -> Tensor:
    """Pad for a 3x3 kernel as TensorFlow's "same" does: an odd pixel goes to the bottom and right."""
    pads: list[int] = []
    for size in (maps.shape[3], maps.shape[2]):  # width first, as F.pad takes it
        total = max((-(-size // stride) - 1) * stride + 3 - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(maps, pads)


def load_yamnet(path: Path) -> Yamnet:
    """Build YAMNet from a file with its 56 tensors.

    Raises: ValueError: If the file can't be read or its tensors are not YAMNet's, shapes included.
    """
    tensors = {name: tensor.float() for name, tensor in read_weights(path).items()}
    with torch.device("meta"):
        network = Yamnet()
    load_strictly(network, tensors, source=str(path), assign=True)
    return network.eval().requires_grad_(False)


def second_means(embeddings: np.ndarray) -> np.ndarray:
    """Average patch embeddings over the patches whose centre lies in each second [i, i + 1).

    Args:
        embeddings: (k, 1024) of patches 48 frames apart, the first at the start of the sound; k >= 1.
    Returns: (seconds, 1024), as many seconds as have a centre: patch j's is at 0.48 j + 0.4875 s.
    """
    length = (EXAMPLE - 1) * FRAME_HOP + WINDOW  # samples
    centres = (np.arange(embeddings.shape[0]) * HOP * FRAME_HOP + length / 2) / RATE
    second = centres.astype(np.int64)
    return np.stack([embeddings[second == i].mean(axis=0) for i in range(second[-1] + 1)])
