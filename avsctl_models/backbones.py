"""Image networks from timm that give four feature maps, with their input normalisation."""

from __future__ import annotations

from typing import Any

import timm
import torch
from timm.layers import DropPath
from timm.models import FeatureListNet
from torch import Tensor, nn

from avsctl_models.adapters import AdaptedProjection, Adapter
from avsctl_models.swin_blocks import PiecewiseWindowAttention, run_stage
from avsctl_models.weights.mapping import sources_of
from avsctl_models.weights.official_backbones import pvt_rules

STRIDES = (4, 8, 16, 32)
_PVT_RULES = pvt_rules("", "")
NORMALIZATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "symmetric": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),  # RGB / 127.5 - 1
}


class Backbone(nn.Module):
    """Base of all backbones: holds mean and spread of the input, gives four maps.

    Attributes:
        channels: Channels of the maps of strides 4, 8, 16, 32.
        mean, std: (3, 1, 1) of RGB in [0, 1]; not in the state dict.
    """

    channels: tuple[int, ...]
    mean: Tensor
    std: Tensor

    def __init__(self, normalization: str):
        super().__init__()
        if normalization not in NORMALIZATIONS:
            known = ", ".join(NORMALIZATIONS)
            raise ValueError(f"normalization must be one of {known}, not {normalization!r}")
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in NORMALIZATIONS[normalization])
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def normalize(self, frames: Tensor) -> Tensor:
        """Scale frames to what the backbone was trained on.

        Args:
            frames: (N, 3, H, W) RGB, uint8 or float, from 0 to 255.
        Returns: (N, 3, H, W) float32.
        """
        return (frames.to(self.mean.dtype) / 255 - self.mean) / self.std

    def first_maps(self, frames: Tensor, count: int) -> list[Tensor]:
        """Give the `count` finest of the maps of normalised frames, where it can without computing the others."""
        return self(frames)[:count]

    def adapters(self) -> list[Adapter]:
        """All adapters inside the backbone."""
        return [module for module in self.modules() if isinstance(module, Adapter)]


class SwinBackbone(Backbone):
    """Swin Transformer with a norm on every stage's output and, if asked for, residual adapters.

    Args:
        swin: timm's SwinTransformer, built with `always_partition=True` and `strict_img_size=False`.
        adapters: Whether every block gets adapters on its attention's and its MLP's output.
        drop_path: Probability of stochastic depth, constant, on the attention branch only.
    Source: Mask2Former's Swin; adapters and stochastic depth as in the released Stepping Stones (ECCV 2024).
    """

    def __init__(
        self,
        swin: Any,
        *,
        adapters: bool = False,
        drop_path: float = 0.3,
        normalization: str = "imagenet",
    ):
        super().__init__(normalization)
        self.channels = tuple(info["num_chs"] for info in swin.feature_info)
        self.patch_size = swin.patch_embed.patch_size[0]
        self.window = tuple(swin.layers[0].blocks[0].window_size)
        self.patch_embed = swin.patch_embed
        self.layers = swin.layers
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-5) for width in self.channels)
        for block in (block for layer in self.layers for block in layer.blocks):
            block.drop_path1 = DropPath(drop_path) if drop_path > 0 else nn.Identity()
            block.drop_path2 = nn.Identity()
            block.attn = PiecewiseWindowAttention.like(block.attn)
            if adapters:
                block.attn.proj = _with_adapter(block.attn.proj)
                block.mlp.fc2 = _with_adapter(block.mlp.fc2)

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Give the maps of the four stages.

        Args:
            frames: (N, 3, H, W) normalised; H and W must make every stage a multiple of the window.
        Returns: Four maps (N, channels[i], H/2^(i+2), W/2^(i+2)).
        Raises: ValueError: If the size doesn't fit the windows.
        """
        return self.first_maps(frames, len(STRIDES))

    def first_maps(self, frames: Tensor, count: int) -> list[Tensor]:
        """Give the maps of the first `count` stages."""
        self._check_size(frames)
        tokens = self.patch_embed(frames)  # (N, H/4, W/4, C)
        maps = []
        for layer, norm in zip(self.layers[:count], self.norms[:count], strict=True):
            tokens = run_stage(layer, tokens)
            maps.append(norm(tokens).permute(0, 3, 1, 2).contiguous())
        return maps

    def _check_size(self, frames: Tensor) -> None:
        # timm rolls before it pads, the released code pads before it rolls: they agree only without padding.
        coarsest = self.patch_size * 2 ** (len(self.layers) - 1)
        steps = [coarsest * side for side in self.window]
        if any(size % step for size, step in zip(frames.shape[-2:], steps, strict=True)):
            raise ValueError(
                f"Frames of {frames.shape[-2]}x{frames.shape[-1]} do not fit this Swin backbone: height and "
                f"width must be multiples of {steps[0]} and {steps[1]} (windows of {self.window[0]}x"
                f"{self.window[1]} at stride {coarsest})"
            )


class TimmBackbone(Backbone):
    """Any timm network whose features come at strides 4, 8, 16 and 32.

    Args:
        network: Built with `features_only=True`.
    Raises: ValueError: If one of the strides is missing.
    """

    def __init__(self, network: Any, *, normalization: str = "imagenet"):
        super().__init__(normalization)
        strides = network.feature_info.reduction()
        missing = [stride for stride in STRIDES if stride not in strides]
        if missing:
            raise ValueError(f"The backbone gives maps at strides {strides}, but {missing} are needed too")
        last = {stride: index for index, stride in enumerate(strides)}
        self.indices = [last[stride] for stride in STRIDES]
        self.channels = tuple(network.feature_info.channels()[index] for index in self.indices)
        self.network = network

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Give the maps of strides 4, 8, 16, 32 of normalised frames (N, 3, H, W)."""
        maps = self.network(frames)
        return [maps[index] for index in self.indices]

    def first_maps(self, frames: Tensor, count: int) -> list[Tensor]:
        """Give the `count` finest maps; networks that timm takes apart stage by stage stop there."""
        if not isinstance(self.network, FeatureListNet):
            return super().first_maps(frames, count)
        wanted, maps, tensor = self.indices[:count], [], frames
        for name, module in self.network.items():
            tensor = module(tensor)
            if name in self.network.return_layers:
                maps.append(tensor)
            if count and len(maps) > wanted[-1]:
                break
        return [maps[index] for index in wanted]


def build_backbone(
    name: str,
    *,
    image_size: int,
    options: dict | None = None,
    adapters: bool = False,
    drop_path: float = 0.0,
    drop_path_rate: float = 0.0,
    normalization: str = "imagenet",
) -> Backbone:
    """Build a backbone by its timm name, with random weights; nothing is ever downloaded.

    Args:
        name: timm's name of the network; Swin (first version) gets stage norms and, if asked for, adapters.
        image_size: Usual height and width of the frames, in pixels.
        options: Passed on to timm, for instance `embed_dim` and `depths` of a Swin.
        adapters: Residual adapters, Swin only.
        drop_path: Constant stochastic depth on Swin's attention branch.
        drop_path_rate: Stochastic depth of other networks, which grows to this with depth.
        normalization: "imagenet", or "symmetric" for RGB / 127.5 - 1.
    Raises: ValueError: If timm doesn't know the name, strides are missing, or adapters are asked of another
        network than Swin.
    """
    if not timm.is_model(name):
        close = timm.list_models(f"{name.split('_')[0]}*")[:5]
        hint = f"; similar: {', '.join(close)}" if close else ""
        raise ValueError(f"timm {timm.__version__} knows no network named {name!r}{hint}")
    options = dict(options or {})
    if name.startswith("swin_"):
        swin = timm.create_model(
            name,
            pretrained=False,
            num_classes=0,
            img_size=image_size,
            always_partition=True,
            strict_img_size=False,
            **options,
        )
        return SwinBackbone(swin, adapters=adapters, drop_path=drop_path, normalization=normalization)
    if adapters:
        raise ValueError(f"Backbone adapters exist for Swin only, not for {name}")
    if drop_path_rate:
        options = {"drop_path_rate": drop_path_rate, **options}
    try:
        network = timm.create_model(name, pretrained=False, features_only=True, **options)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise ValueError(f"{name} cannot serve as a backbone that gives feature maps: {error}") from error
    return TimmBackbone(network, normalization=normalization)


def load_backbone_weights(backbone: Backbone, state: dict[str, Tensor]) -> list[str]:
    """Load weights under timm's own names, or those of PVT-v2's authors, into a backbone.

    Stage norms and adapters, which timm's files don't have, keep their values.

    Args:
        state: State dict of the classifier or of timm's features-only network.
    Returns: Names in `state` that were not used, for instance the classifier's.
    Raises: ValueError: If anything the network needs is missing or has another shape.
    """
    target = backbone.network if isinstance(backbone, TimmBackbone) else backbone
    own = ("norms.", ".adapter.", "num_batches_tracked")
    wanted = {name: tensor for name, tensor in target.state_dict().items() if not any(part in name for part in own)}
    found, used = {}, set()
    for name, tensor in wanted.items():
        source = next((key for key in _names_in_files(name) if key in state), None)
        if source is None or state[source].shape != tensor.shape:
            continue
        found[name] = state[source]
        used.add(source)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ValueError(
            f"The backbone's weights don't fit: {len(missing)} of {len(wanted)} tensors are missing or have "
            f"another shape, first {', '.join(missing[:3])}"
        )
    target.load_state_dict(found, strict=False)
    return sorted(key for key in state if key not in used and not key.endswith("num_batches_tracked"))


def _names_in_files(name: str) -> list[str]:
    """Names under which files may hold a tensor of timm's: features-only networks join the first two parts."""
    plain = name.replace(".projection.", ".")
    head, _, rest = plain.partition(".")
    prefix, _, number = head.rpartition("_")
    joined = [f"{prefix}.{number}.{rest}"] if number.isdigit() else []
    return [plain, *joined, *sources_of(plain, _PVT_RULES)]


def _with_adapter(projection: nn.Linear) -> AdaptedProjection:
    adapted = AdaptedProjection(projection, projection.out_features, residual=True)
    adapted.adapter.reset(std=0.02)
    return adapted
