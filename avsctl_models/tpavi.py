"""TPAVI, the audio-visual segmentation model of AVSBench (ECCV 2022), for binary and semantic masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import cast

import torch
from torch import Tensor, nn

from avsctl_models.backbones import Backbone, build_backbone
from avsctl_models.contract import SegmentationModel
from avsctl_models.dense_losses import AudioMapLoss, frame_mean, labelled_frames, pixel_loss
from avsctl_models.heads import PixelHead
from avsctl_models.inputs import check_image_size, check_sound_and_prior
from avsctl_models.loss_counts import LossCounts
from avsctl_models.outputs import DenseOutput
from avsctl_models.pixel_decoders import DilatedProjection, ResidualPyramid
from avsctl_models.presets import class_count, resolved_settings
from avsctl_models.prior import fuse_prior
from avsctl_models.registry import register_model
from avsctl_models.temporal_attention import TemporalAttention, window_means

ATTENTION_KINDS = ("va", "vv", "both")


class TPAVI(SegmentationModel):
    """Dilated convolutions and attention over five frames on every level, a residual pyramid, a head.

    Args:
        backbone: Gives four maps of normalised frames.
        projections: One for each of the four maps.
        attention: By level, 0 the finest; levels without keep their maps.
        kind: "va" attends to the sound, "vv" among pixels, "both" is the mean of the two.
        window: Frames that attention looks at together; see `window_means` for clips of other lengths.
        audio_relu: Whether negative values of the audio are cut off: the published models hear VGGish so.
        prior_fusion: Whether the prior is added to the mask features.
        audio_loss: The loss between sound and features, None for none, and its weight.
    """

    class_rows = ("head.classify.weight", "head.classify.bias")
    sees_clips = True

    def __init__(
        self,
        backbone: Backbone,
        projections: Sequence[DilatedProjection],
        attention: dict[int, TemporalAttention],
        pyramid: ResidualPyramid,
        head: PixelHead,
        *,
        kind: str = "va",
        window: int = 5,
        audio_relu: bool = True,
        prior_fusion: bool = False,
        audio_loss: AudioMapLoss | None = None,
        audio_loss_weight: float = 0.5,
    ):
        super().__init__(backbone)
        self.projections = nn.ModuleList(projections)
        self.attention = nn.ModuleDict({str(level): block for level, block in attention.items()})
        self.pyramid = pyramid
        self.head = head
        self.kind, self.window = kind, window
        self.audio_relu = audio_relu
        self.prior_fusion = prior_fusion
        self.audio_loss, self.audio_loss_weight = audio_loss, audio_loss_weight

    @property
    def uses_prior(self) -> bool:
        return self.prior_fusion

    @property
    def num_classes(self) -> int:
        return max(2, self.head.classify.out_channels)

    @property
    def audio_dim(self) -> int | None:
        sounds = [block.audio for _, block in self._levels()]
        return sounds[0].in_features if sounds and sounds[0] is not None else None

    def _levels(self) -> list[tuple[int, TemporalAttention]]:
        """The levels that have a block, with it."""
        return [(int(level), cast(TemporalAttention, block)) for level, block in self.attention.items()]

    def from_features(
        self,
        features: list[Tensor],
        audio: Tensor | None,
        prior: Tensor | None = None,
        *,
        lengths: Sequence[int] | None = None,
        size: tuple[int, int],
        intermediates: bool = False,
    ) -> DenseOutput:
        """Predict logits of the frames' size from the backbone's maps; see `SegmentationModel`.

        Intermediates: `projected` and `maps` (lists of four), `mask_features`, `mask_features_with_prior`.
        """
        count = len(features[0])
        check_sound_and_prior(self, count, audio, prior, lengths)
        check_image_size(size)
        if audio is not None and self.audio_relu:
            audio = torch.relu(audio)
        means = window_means(lengths or [count], self.window, like=features[0])
        projected = [project(f) for project, f in zip(self.projections, features, strict=True)]
        maps, sounds = list(projected), []
        for level, block in self._levels():
            sound = None if audio is None or block.audio is None else block.audio(audio)  # (N, C)
            maps[level] = self._attend(block, projected[level], means, sound)
            sounds += [] if sound is None else [sound]
        # The pyramid's first ReLU works in place in the released code, so that the loss sees its result.
        maps = [torch.relu(m) for m in maps]

        mask_features = self.pyramid(maps)  # (N, C, H/2, W/2)
        fused = mask_features if prior is None else fuse_prior(mask_features, prior)
        trace = {"projected": projected, "maps": maps, "mask_features": mask_features}
        trace["mask_features_with_prior"] = fused
        heard = [maps[level] for level, _ in self._levels()] if sounds else []
        return DenseOutput(self.head(fused), size, heard, sounds, trace if intermediates else None)

    def _attend(self, block: TemporalAttention, maps: Tensor, means: Tensor, sound: Tensor | None) -> Tensor:
        if self.kind == "va":
            return block(maps, means, sound)
        among_pixels = block(maps, means)
        return among_pixels if self.kind == "vv" else (among_pixels + block(maps, means, sound)) / 2

    def loss(
        self,
        output: DenseOutput,
        labels: Tensor,
        labelled: Tensor,
        *,
        lengths: Sequence[int] | None = None,
        whole: LossCounts | None = None,
        seeds: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """Compute the published loss: cross-entropy of labelled frames, and the audio loss if there is one.

        The audio loss of a binary model counts frames without a label too.
        Returns: "loss", "loss_mask" and, with an audio loss, "loss_audio".
        """
        size = (output.logits.shape[-2], output.logits.shape[-1])
        wanted = labelled_frames(labels, labelled, size, whole)
        mask = frame_mean(pixel_loss(output.logits, wanted), labelled, whole)
        if self.audio_loss is None:
            return {"loss": mask, "loss_mask": mask.detach()}
        audio = self.audio_loss(output.logits, output.maps, output.sounds, labelled, whole)
        total = mask + self.audio_loss_weight * audio
        return {"loss": total, "loss_mask": mask.detach(), "loss_audio": audio.detach()}


@register_model("tpavi")
def build_tpavi(*, preset: str, task: str, num_classes: int | None, audio_dim: int | None, **overrides) -> TPAVI:
    """Build TPAVI with random weights, initialised as the released code does.

    Args:
        preset: "pvt" or "r50", the published ones, or "tiny", small enough to train from scratch on a CPU.
        task: "avs" gives one logit, "avss" one for each class.
        num_classes: K with the background; None is 2 for "avs" and 71 for "avss".
        audio_dim: Width of the audio embeddings; None with `attention="vv"` only.
        overrides: Any setting of the preset, by name; see `presets.py`.
    Raises: ValueError: If a name or a value doesn't exist or fit.
    """
    settings = resolved_settings("tpavi", preset, task, overrides)
    classes = class_count(task, num_classes)
    check_image_size((settings["image_size"],) * 2)
    kind, levels = settings["attention"], sorted(settings["attention_levels"])
    _check_attention(kind, levels, audio_dim, settings["audio_loss"])
    backbone = build_backbone(
        settings["backbone"],
        image_size=settings["image_size"],
        options=settings["backbone_options"],
        drop_path=settings["drop_path"],
        drop_path_rate=settings["drop_path"],
        normalization=settings["normalization"],
    )
    dim = settings["hidden_dim"]
    model = TPAVI(
        backbone,
        [DilatedProjection(channels, dim) for channels in backbone.channels],
        {level: TemporalAttention(dim, audio_dim, audio_bias=task == "avs") for level in levels},
        ResidualPyramid(dim),
        PixelHead(dim, settings["head_hidden"], 1 if task == "avs" else classes, scale=2, bias=True),
        kind=kind,
        window=settings["window"],
        audio_relu=settings["audio_relu"],
        prior_fusion=settings["prior_fusion"],
        audio_loss=None if settings["audio_loss"] is None else AudioMapLoss(**settings["audio_loss"]),
        audio_loss_weight=settings["audio_loss_weight"],
    )
    model.spec = {
        "name": "tpavi",
        "preset": preset,
        "task": task,
        "num_classes": classes,
        "audio_dim": audio_dim,
        "settings": settings,
    }
    return model


def _check_attention(kind: str, levels: list[int], audio_dim: int | None, audio_loss: dict | None) -> None:
    if kind not in ATTENTION_KINDS:
        raise ValueError(f"attention must be one of {', '.join(ATTENTION_KINDS)}, not {kind!r}")
    if not set(levels) <= set(range(4)):
        raise ValueError(f"attention_levels must be of 0, 1, 2, 3, not {levels}")
    hears = kind != "vv" and bool(levels)
    if hears != (audio_dim is not None):
        need = "audio_dim must be a number" if hears else "audio_dim must be None, as it hears nothing"
        raise ValueError(f'tpavi with attention="{kind}" on levels {levels}: {need}')
    if audio_loss is None:
        return
    if not hears:
        raise ValueError("audio_loss must be None for a model that hears nothing")
    unknown = sorted(set(audio_loss) - {field.name for field in fields(AudioMapLoss)})
    if unknown:
        raise ValueError(f"audio_loss has no {unknown[0]!r}; it has {', '.join(f.name for f in fields(AudioMapLoss))}")
