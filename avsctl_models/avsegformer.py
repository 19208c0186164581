"""AVSegFormer (AAAI 2024), an audio-visual segmentation transformer for binary and semantic masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avsctl_models.attention import Attention
from avsctl_models.audio_mixer import AudioMixer
from avsctl_models.backbones import Backbone, build_backbone
from avsctl_models.contract import SegmentationModel
from avsctl_models.decoders import QueryGenerator, QueryLayer
from avsctl_models.dense_losses import dice_loss, frame_mean, labelled_frames, pixel_loss
from avsctl_models.heads import PixelHead
from avsctl_models.inputs import check_image_size, check_sound_and_prior
from avsctl_models.loss_counts import LossCounts
from avsctl_models.outputs import DenseOutput
from avsctl_models.pixel_decoders import MemoryPixelDecoder
from avsctl_models.pixel_decoders.deformable import DeformableAttention
from avsctl_models.presets import class_count, resolved_settings
from avsctl_models.prior import fuse_prior
from avsctl_models.registry import register_model

MASK_LOSSES = ("dice", "bce")


class AVSegFormer(SegmentationModel):
    """Queries made by the sound look at the frame's tokens, and their masks refine the mask features.

    Args:
        backbone: Gives four maps of normalised frames.
        pixel_decoder: Gives tokens and mask features.
        audio_projection: From the audio's width to the channels C.
        generator: Gives queries from the sound.
        layers: Refine the queries by the tokens.
        mixer: Scales the channels of the mask features by the sound.
        mask_mlp: From the masks of the Q queries to C channels.
        head: From mask features to logits.
        audio_relu: Whether negative values of the audio are cut off: the published model hears VGGish so.
        prior_fusion: Whether the prior is added to the mask features.
        mask_loss: "dice" or "bce", of a binary model.
        mix_loss_weight: Weight of the loss on the mask features themselves.
    """

    class_rows = ("head.classify.weight",)

    def __init__(
        self,
        backbone: Backbone,
        pixel_decoder: MemoryPixelDecoder,
        audio_projection: nn.Linear,
        generator: QueryGenerator,
        layers: Sequence[QueryLayer],
        mixer: AudioMixer,
        mask_mlp: nn.Sequential,
        head: PixelHead,
        *,
        audio_relu: bool = True,
        prior_fusion: bool = False,
        mask_loss: str = "dice",
        mix_loss_weight: float = 0.1,
    ):
        super().__init__(backbone)
        self.pixel_decoder = pixel_decoder
        self.audio_projection = audio_projection
        self.generator = generator
        self.queries = nn.Parameter(torch.empty_like(generator.queries))
        nn.init.xavier_uniform_(self.queries)
        self.layers = nn.ModuleList(layers)
        self.mixer = mixer
        self.mask_mlp = mask_mlp
        self.head = head
        self.audio_relu = audio_relu
        self.prior_fusion = prior_fusion
        self.mask_loss, self.mix_loss_weight = mask_loss, mix_loss_weight

    @property
    def uses_prior(self) -> bool:
        return self.prior_fusion

    @property
    def num_classes(self) -> int:
        return max(2, self.head.classify.out_channels)

    @property
    def audio_dim(self) -> int:
        return self.audio_projection.in_features

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
        """Predict logits of the frames' size from the backbone's maps, every frame for itself.

        Intermediates: `memory` (N, L, C), `queries` and `queries_last` (N, Q, C), `mask_features`,
        `mask_features_mixed`, `mask_features_with_prior`, `masks` (N, Q, h, w), `refinement`.
        """
        check_sound_and_prior(self, len(features[0]), audio, prior, lengths)
        check_image_size(size)
        assert audio is not None  # it hears, which was checked
        sound = self.audio_projection(torch.relu(audio) if self.audio_relu else audio)  # (N, C)
        memory, mask_features = self.pixel_decoder(features)
        initial = self.generator(sound) + self.queries
        queries = initial
        for layer in self.layers:
            queries = layer(queries, memory)

        mixed = self.mixer(mask_features, sound)
        fused = mixed if prior is None else fuse_prior(mixed, prior)
        masks = torch.einsum("nqc,nchw->nqhw", queries, fused)
        refinement = self.mask_mlp(masks)  # (N, C, H/4, W/4)
        trace = {"memory": memory, "queries": initial, "queries_last": queries, "mask_features": mask_features}
        trace.update(mask_features_mixed=mixed, mask_features_with_prior=fused, masks=masks, refinement=refinement)
        logits = self.head(fused + refinement)
        return DenseOutput(logits, size, [fused], intermediates=trace if intermediates else None)

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
        """Compute the published loss: of the logits, and of the mask features' mean channel as if it were "sounding".

        Returns: "loss", "loss_mask" and "loss_mix".
        """
        size = (output.logits.shape[-2], output.logits.shape[-1])
        wanted = labelled_frames(labels, labelled, size, whole)
        binary = dice_loss if self.mask_loss == "dice" else pixel_loss
        several = output.logits.shape[1] > 1
        mask = frame_mean((pixel_loss if several else binary)(output.logits, wanted), labelled, whole)
        mean = output.maps[0].float().mean(1, keepdim=True)
        enlarged = F.interpolate(mean, size, mode="bilinear", align_corners=False)
        mix = frame_mean((dice_loss if several else binary)(enlarged, wanted), labelled, whole)
        return {"loss": mask + self.mix_loss_weight * mix, "loss_mask": mask.detach(), "loss_mix": mix.detach()}


@register_model("avsegformer")
def build_avsegformer(
    *, preset: str, task: str, num_classes: int | None, audio_dim: int | None, **overrides
) -> AVSegFormer:
    """Build AVSegFormer with random weights, initialised as the released code does.

    Args:
        preset: "pvt" or "r50", the published ones, or "tiny", small enough to train from scratch on a CPU.
        task: "avs" gives one logit, "avss" one for each class.
        num_classes: K with the background; None is 2 for "avs" and 71 for "avss".
        audio_dim: Width of the audio embeddings.
        overrides: Any setting of the preset, by name; see `presets.py`.
    Raises: ValueError: If a name or a value doesn't exist or fit.
    """
    settings = resolved_settings("avsegformer", preset, task, overrides)
    classes = class_count(task, num_classes)
    check_image_size((settings["image_size"],) * 2)
    if audio_dim is None:
        raise ValueError("avsegformer makes its queries from sound: audio_dim must be a number")
    if settings["mask_loss"] not in MASK_LOSSES:
        raise ValueError(f"mask_loss must be one of {', '.join(MASK_LOSSES)}, not {settings['mask_loss']!r}")
    backbone = build_backbone(
        settings["backbone"],
        image_size=settings["image_size"],
        options=settings["backbone_options"],
        drop_path=settings["drop_path"],
        drop_path_rate=settings["drop_path"],
        normalization=settings["normalization"],
    )
    dim, heads, dropout = settings["hidden_dim"], settings["heads"], settings["dropout"]
    model = AVSegFormer(
        backbone,
        MemoryPixelDecoder(
            backbone.channels,
            dim,
            layers=settings["pixel_layers"],
            heads=heads,
            points=settings["points"],
            hidden=settings["pixel_hidden"],
            dropout=dropout,
        ),
        nn.Linear(audio_dim, dim),
        QueryGenerator(
            settings["queries"],
            dim,
            heads=heads,
            hidden=settings["generator_hidden"],
            layers=settings["generator_layers"],
        ),
        [
            QueryLayer(dim, heads, settings["decoder_hidden"], dropout=dropout)
            for _ in range(settings["decoder_layers"])
        ],
        AudioMixer(dim, heads=heads),
        _mask_mlp(settings["queries"], settings["mask_hidden"], dim),
        PixelHead(dim, settings["head_hidden"], 1 if task == "avs" else classes, scale=4, bias=False),
        audio_relu=settings["audio_relu"],
        prior_fusion=settings["prior_fusion"],
        mask_loss=settings["mask_loss"],
        mix_loss_weight=settings["mix_loss_weight"],
    )
    _initialise(model)
    model.spec = {
        "name": "avsegformer",
        "preset": preset,
        "task": task,
        "num_classes": classes,
        "audio_dim": audio_dim,
        "settings": settings,
    }
    return model


def _mask_mlp(queries: int, hidden: int, dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(queries, hidden, 1),
        nn.ReLU(),
        nn.Conv2d(hidden, hidden, 1),
        nn.ReLU(),
        nn.Conv2d(hidden, dim, 1),
    )


def _initialise(model: AVSegFormer) -> None:
    """Draw the weights of all but backbone and audio projection as released: Xavier, PyTorch's own biases.

    The released attentions hold query, key and value in one matrix (the mixer: key and value), whose size sets their
    spread.
    """
    modules = [module for name, module in model.named_modules() if not name.startswith(("backbone.", "audio_proj"))]
    for layer in (module for module in modules if isinstance(module, nn.Linear | nn.Conv2d)):
        layer.reset_parameters()
        nn.init.xavier_uniform_(layer.weight)
    for attention in (module for module in modules if isinstance(module, Attention)):
        joined = 2 if attention is model.mixer.attention else 3
        parts = (attention.key, attention.value) if joined == 2 else (attention.query, attention.key, attention.value)
        for part in parts:
            nn.init.xavier_uniform_(part.weight, gain=(2 / (1 + joined)) ** 0.5)
        if joined == 3 and attention.output.bias is not None:
            for part in (*parts, attention.output):
                nn.init.zeros_(part.bias)
    for deformable in (module for module in modules if isinstance(module, DeformableAttention)):
        deformable.reset()
    nn.init.normal_(model.pixel_decoder.level_embedding)
