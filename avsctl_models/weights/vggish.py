"""VGGish as torchvggish stores it: the network's 18 tensors, and its PCA in a file of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from avsctl_models.audio.vggish import DIM, PREFIX as PREFIX, Vggish
from avsctl_models.weights.mapping import Report, Rule, convert_with_rules

SOURCE = "vggish"
PCA = {"pca_eigen_vectors": (DIM, DIM), "pca_means": (DIM, 1)}
_OWN_NAMES = (Rule("(.+)", ("{0}",)),)


def detect(state: dict[str, Tensor]) -> bool:
    """Whether weights are VGGish's, or its PCA's, by the names of the tensors."""
    return any(name.startswith(("embeddings.0.", "embeddings.2.", "pca_")) for name in state)


def convert(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], Report]:
    """Take the network's tensors, or the PCA's where the file holds that.

    Args:
        state: Of `vggish-10086976.pth`, or of `vggish_pca_params-970ea276.pth`; the PCA inside a network's file
            (`pproc.…`) is reported as unused.
    Returns: Float32 tensors under torchvggish's names, as `load_vggish` and `load_pca` read them, and what
        matched, is missing or was not used.
    """
    if not _holds_pca(state):
        return convert_with_rules(state, _network(), _OWN_NAMES)
    column = {name: tensor.reshape(-1, 1) if tensor.numel() == DIM else tensor for name, tensor in state.items()}
    return convert_with_rules(column, _Pca(), _OWN_NAMES)


def describe(state: dict[str, Tensor]) -> str:
    """What `convert` makes of a state dict, in words."""
    return "VGGish's PCA" if _holds_pca(state) else "VGGish"


def _holds_pca(state: dict[str, Tensor]) -> bool:
    return any(name.startswith("pca_") for name in state)


def _network() -> Vggish:
    with torch.device("meta"):  # only names and shapes are wanted of its 72 M numbers
        return Vggish()


class _Pca(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name, shape in PCA.items():
            self.register_buffer(name, torch.empty(shape))
