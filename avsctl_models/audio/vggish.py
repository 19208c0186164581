"""VGGish: log-mel examples to 128 numbers, with torchvggish's parameter names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from avsctl_models.registry import load_strictly
from avsctl_models.weights.files import part_of, read_weights

DIM = 128
PREFIX = "vggish."  # of its tensors in checkpoints of AVSegFormer, which carry it along
PCA_RANGE = 2.0
BATCH = 32  # examples at once; the first layer takes 50 MB for them


class Vggish(nn.Module):
    """The network up to its last linear layer: what comes out is signed.

    torchvggish (AVSBench, AVSegFormer) applies one more ReLU, Stepping Stones does not; `relu` derives the
    former from the latter. 72.1 M parameters in 18 tensors, named as in `vggish-10086976.pth`.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for widths in ((64,), (128,), (256, 256), (512, 512)):
            for width in widths:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(512 * 6 * 4, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, DIM)
        )

    def forward(self, examples: Tensor) -> Tensor:
        """Embed examples.

        Args:
            examples: (N, 1, 96, 64) log-mel values with offset 0.01, time before frequency.
        Returns: (N, 128), before the last ReLU.
        """
        maps = self.features(examples)  # (N, 512, 6, 4)
        return self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))  # flattened as height, width, channel

    @torch.inference_mode()
    def embed(self, examples: np.ndarray) -> np.ndarray:
        """Embed any number of examples in batches: (N, 96, 64) float32 to (N, 128) float32."""
        batches = torch.from_numpy(np.ascontiguousarray(examples, np.float32))[:, None].split(BATCH)
        return torch.cat([self(batch) for batch in batches]).numpy()


def load_vggish(path: Path) -> Vggish:
    """Build VGGish from torchvggish's checkpoint (`.pth`), the same tensors as `.safetensors`, or those that a
    checkpoint of AVSegFormer carries along.

    Raises: ValueError: If the file can't be read or its tensors are not VGGish's 18, shapes included.
    """
    tensors = {name: tensor.float() for name, tensor in part_of(read_weights(path), PREFIX).items()}
    with torch.device("meta"):
        network = Vggish()
    load_strictly(network, tensors, source=str(path), assign=True)
    return network.eval().requires_grad_(False)


def relu(embeddings: np.ndarray) -> np.ndarray:
    """Turn signed embeddings into torchvggish's, which end in a ReLU (used by AVSBench and AVSegFormer)."""
    return np.maximum(embeddings, 0)


def load_pca(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the PCA parameters (`vggish_pca_params-970ea276.pth` or the same tensors as `.safetensors`).

    Returns: eigenvectors (128, 128) and means (128,), float32.
    Raises: ValueError: If the file can't be read or lacks `pca_eigen_vectors` or `pca_means` of that size.
    """
    tensors = read_weights(path)
    vectors, means = tensors.get("pca_eigen_vectors"), tensors.get("pca_means")
    if vectors is None or means is None or vectors.shape != (DIM, DIM) or means.numel() != DIM:
        raise ValueError(f"{path} lacks pca_eigen_vectors ({DIM}, {DIM}) or pca_means ({DIM},)")
    return vectors.float().numpy(), means.float().flatten().numpy()


def pca_quantised(features: np.ndarray, eigenvectors: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Apply VGGish's post-processing: PCA, clip to [-2, 2], quantise to 8 bits.

    No released AVS model uses it; torch.hub's VGGish does by default. The input there is after the ReLU, so
    cached embeddings go through `relu` first.

    Args:
        features: (N, 128) embeddings after the ReLU.
        eigenvectors, means: (128, 128) and (128,), as `load_pca` returns.
    Returns: (N, 128) float32 whole numbers in 0..255.
    """
    projected = (features - means.reshape(-1)) @ eigenvectors.T
    clipped = np.clip(projected, -PCA_RANGE, PCA_RANGE)
    return np.round((clipped + PCA_RANGE) * (255.0 / (2 * PCA_RANGE))).astype(np.float32)
