"""The peer: Hugging Face's Mask2Former with the released adapters and audio queries, computing what AAVS computes.

The released code of Stepping Stones is built on this model. Everything but the sizes is as it comes out of the box;
what the released code adds to it, adapters and the audio's part in the queries, is added in plain PyTorch.
"""

from __future__ import annotations

import copy
import math
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsctl.bench.harness import require_equal
from avsctl_models import Target
from avsctl_models.aavs import AAVS
from avsctl_models.adapters import AdaptedProjection
from avsctl_models.weights.files import read_weights
from avsctl_models.weights.mapping import sources_of
from avsctl_models.weights.mask2former_hf import RULES, convert

SWIN_OUTPUT = re.compile(
    r".*\.blocks\.\d+\.(?:attention\.o_proj|attention\.output\.dense|mlp\.fc2|(?<!attention\.)output\.dense)"
)
"""Where a block of Hugging Face's Swin ends its attention and its MLP, in several versions of transformers."""


STAGES = ["stage1", "stage2", "stage3", "stage4"]
STAND_IN: dict[str, Any] = {"embed_dim": 8, "depths": [1] * 4, "num_heads": [1] * 4, "out_features": STAGES}
"""A backbone that another one takes the place of."""


class Peer(nn.Module):
    """Frames, sound and perhaps targets in, Hugging Face's output out.

    Args:
        network: a `Mask2FormerForUniversalSegmentation`.
        audio_projection: from the audio's width to the queries'.
    """

    network: Any
    audio_projection: nn.Module

    def __init__(self, network: Any, audio_projection: nn.Module):
        super().__init__()
        self.network = network
        self.audio_projection = audio_projection
        self._sound = torch.empty(0)
        network.model.transformer_module.decoder.register_forward_pre_hook(self._add_sound, with_kwargs=True)

    def forward(self, frames: Tensor, audio: Tensor, targets: Sequence[Target] = ()) -> Any:
        """Predict, and with targets compute the loss; frames (N, 3, H, W) normalised, audio (N, D)."""
        self._sound = self.audio_projection(audio)
        labels: dict[str, list[Tensor]] = {}
        if targets:
            labels["mask_labels"] = [target.masks.float() for target in targets]
            labels["class_labels"] = [target.classes for target in targets]
        return self.network(pixel_values=frames, **labels)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Its modules by the names of `avsctl.bench.parts.NETWORK`."""
        inner = self.network.model
        pixel_level = inner.pixel_level_module
        return {
            "backbone": pixel_level.encoder,
            "pixel decoder": pixel_level.decoder,
            "decoder": inner.transformer_module,
        }

    def _add_sound(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        sound, prototypes = self._sound, self.network.model.transformer_module.queries_embedder.weight
        similarity = F.normalize(sound, dim=-1) @ F.normalize(prototypes, dim=-1).T  # (N, Q)
        added = (similarity[..., None] * sound[:, None]).transpose(0, 1)  # (Q, N, C)
        return args, {**kwargs, "inputs_embeds": kwargs["inputs_embeds"] + added}


def make_peer(model: AAVS) -> Peer:
    """Build the peer of an AAVS with the deformable pixel decoder; both then hold the same weights.

    The model takes the peer's, and the peer the model's adapters and audio projection. What the model trains, the peer
    trains.

    Raises: UnequalWork: If the two would train different numbers of parameters.
    """
    network = _network(model)
    _spread(network)
    weights, _ = convert(_saved(network), model)
    model.load_state_dict(weights, strict=False)
    _adapt(network, model)
    projection: Any = model.audio_projection
    peer = Peer(network, copy.deepcopy(projection))
    _train_the_same(model, peer)
    return peer


def _saved(network: Any) -> dict[str, Tensor]:
    """The weights under the names of files, which those of modules follow only in some versions."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        network.save_pretrained(folder)
        return read_weights(Path(folder) / "model.safetensors")


def _adapt(network: Any, model: AAVS) -> None:
    """Give the network the model's adapters, at the same places."""
    adapted = {name: module for name, module in model.named_modules() if isinstance(module, AdaptedProjection)}
    in_backbone = [name for name in adapted if name.startswith("backbone.")]
    places = [name for name, _ in network.named_modules() if SWIN_OUTPUT.fullmatch(name)]
    targets = dict(zip(in_backbone, places, strict=True)) if in_backbone else {}
    for name, module in adapted.items():
        target = targets.get(name) or _peer_name(f"{name}.weight").removesuffix(".weight")
        parent, _, leaf = target.rpartition(".")
        setattr(network.get_submodule(parent), leaf, _Adapted(module))


class _Adapted(nn.Module):
    """A projection, if there is one, and an adapter behind it, added or not: the released code's layer."""

    def __init__(self, source: AdaptedProjection):
        super().__init__()
        self.projection = copy.deepcopy(source.projection)
        self.adapter = nn.ModuleDict({"down": nn.Linear(*_widths(source)), "up": nn.Linear(*_widths(source)[::-1])})
        self.adapter.load_state_dict(source.adapter.state_dict())
        self.residual = source.residual

    def forward(self, x: Tensor) -> Tensor:
        if self.projection is not None:
            x = self.projection(x)
        adapted = self.adapter["up"](torch.relu(self.adapter["down"](x)))
        return x + adapted if self.residual else adapted


class _Maps(nn.Module):
    """A timm network in the place of Hugging Face's backbone."""

    def __init__(self, model: AAVS):
        super().__init__()
        settings = model.spec["settings"]
        self.network = timm.create_model(settings["backbone"], pretrained=False, features_only=True)
        backbone: Any = model.backbone
        self.network.load_state_dict(backbone.network.state_dict())
        self.indices = backbone.indices

    def forward(self, frames: Tensor) -> Any:
        maps = self.network(frames)
        return SimpleNamespace(feature_maps=tuple(maps[index] for index in self.indices))


def _network(model: AAVS) -> Any:
    import transformers
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerPixelDecoder

    settings = model.spec["settings"]
    is_swin = settings["backbone"].startswith("swin_")
    sizes: dict[str, Any] = {
        "feature_size": settings["hidden_dim"],
        "hidden_dim": settings["hidden_dim"],
        "mask_feature_size": settings["mask_dim"],
        "encoder_layers": settings["pixel_layers"],
        "encoder_feedforward_dim": settings["pixel_hidden"],
        "num_attention_heads": settings["heads"],
        "decoder_layers": settings["decoder_layers"] + 1,  # its count includes the prediction before
        "dim_feedforward": settings["decoder_hidden"],
        "num_queries": settings["queries"],
        "num_labels": model.num_classes,
        "train_num_points": settings["loss_points"],
    }
    backbone = _swin_config(model) if is_swin else transformers.SwinConfig(**STAND_IN)
    config = transformers.Mask2FormerConfig(backbone_config=backbone, output_auxiliary_logits=True, **sizes)
    network = transformers.Mask2FormerForUniversalSegmentation(config)
    network.criterion.matcher.cost_class = 1.0  # as released
    if not is_swin:
        pixel_level = network.model.pixel_level_module
        pixel_level.decoder = Mask2FormerPixelDecoder(config, feature_channels=list(model.backbone.channels))
        network.init_weights()
        pixel_level.encoder = _Maps(model)
    return network


def _swin_config(model: AAVS) -> Any:
    import transformers

    backbone: Any = model.backbone
    blocks = [layer.blocks for layer in backbone.layers]
    options: dict[str, Any] = {"out_features": STAGES}
    return transformers.SwinConfig(
        image_size=model.image_size,
        embed_dim=backbone.channels[0],
        depths=[len(stage) for stage in blocks],
        num_heads=[stage[0].attn.num_heads for stage in blocks],
        window_size=backbone.window[0],
        drop_path_rate=model.spec["settings"]["drop_path"],
        **options,
    )


def _spread(network: Any) -> None:
    """Move weights away from the ones and zeros they begin with, which would hide differences."""
    for name, parameter in network.named_parameters():
        if parameter.ndim == 1 and "encoder.network" not in name:
            with torch.no_grad():
                parameter.add_(torch.empty_like(parameter).uniform_(-0.1, 0.1))
        elif "sampling_offsets" in name or "attention_weights" in name:
            nn.init.normal_(parameter, std=1 / math.sqrt(parameter.shape[1]) / 4)


def _train_the_same(model: AAVS, peer: Peer) -> None:
    """Leave frozen in the peer what the model's frozen parameters are there."""
    trained = {_peer_name(name) for name, parameter in model.named_parameters() if parameter.requires_grad}
    known = dict(peer.network.named_parameters())
    for name, parameter in known.items():
        parameter.requires_grad_(name in trained)
    projection: Any = model.audio_projection
    for ours, theirs in zip(projection.parameters(), peer.audio_projection.parameters(), strict=True):
        theirs.requires_grad_(ours.requires_grad)
    counts = [sum(p.numel() for p in side.parameters() if p.requires_grad) for side in (model, peer)]
    require_equal(counts[0] == counts[1], f"the number of trained parameters ({counts[0]:,} and {counts[1]:,})")


def _peer_name(name: str) -> str:
    """What one of the model's tensors is called in the peer's network."""
    inside, _, adapter = name.partition(".adapter.")
    if adapter:
        return _peer_name(f"{inside}.weight").removesuffix("weight") + f"adapter.{adapter}"
    if name.startswith("backbone.network."):
        return name.replace("backbone.network.", "model.pixel_level_module.encoder.network.")
    return next(iter(sources_of(name, RULES)), name)


def _widths(source: AdaptedProjection) -> tuple[int, int]:
    return source.adapter.down.in_features, source.adapter.down.out_features
