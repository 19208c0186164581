"""AAVS, the audio-visual segmentation model of Stepping Stones (ECCV 2024), for both of its stages."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from avsctl_models.backbones import Backbone, build_backbone
from avsctl_models.contract import SegmentationModel
from avsctl_models.decoders import MaskedAttentionDecoder
from avsctl_models.inputs import check_sound_and_prior
from avsctl_models.loss_counts import LossCounts
from avsctl_models.losses import Criterion
from avsctl_models.outputs import SegmentationOutput
from avsctl_models.pixel_decoders import DeformablePixelDecoder, FeaturePyramidPixelDecoder
from avsctl_models.positions import sine_positions
from avsctl_models.predictions import Predictions
from avsctl_models.presets import class_count, resolved_settings
from avsctl_models.prior import RobustAudioKeys, fuse_prior, prior_attention_mask
from avsctl_models.queries import AudioQueries
from avsctl_models.registry import register_model
from avsctl_models.targets import classes_present, resize_labels, targets_from_labels


class AAVS(SegmentationModel):
    """Mask2Former whose queries carry sound; stage 2 also takes stage 1's result as a prior.

    Args:
        backbone: Gives four maps of normalised frames.
        pixel_decoder: Gives three levels and the mask features.
        queries: Initial queries.
        decoder: Gives classes and masks.
        audio_projection: From the audio's width to the queries'; None for a model that hears nothing.
        prior_keys: Embeddings of silent, uncertain and sounding keys; None leaves keys as they are.
        prior_fusion: Whether the prior is added to the mask features.
        prior_mask: Whether the prior is the first attention mask.
    """

    class_rows = ("decoder.class_head.weight", "decoder.class_head.bias")

    def __init__(
        self,
        backbone: Backbone,
        pixel_decoder: nn.Module,
        queries: AudioQueries,
        decoder: MaskedAttentionDecoder,
        *,
        audio_projection: nn.Sequential | None = None,
        prior_keys: RobustAudioKeys | None = None,
        prior_fusion: bool = False,
        prior_mask: bool = False,
    ):
        super().__init__(backbone)
        self.pixel_decoder = pixel_decoder
        self.audio_projection = audio_projection
        self.queries = queries
        self.prior_keys = prior_keys
        self.decoder = decoder
        self.prior_fusion = prior_fusion
        self.prior_mask = prior_mask

    @property
    def uses_prior(self) -> bool:
        """Whether a prior changes anything."""
        return self.prior_fusion or self.prior_mask or self.prior_keys is not None

    @property
    def num_classes(self) -> int:
        """Number of classes K, the background among them, "no object" not."""
        return self.decoder.class_head.out_features - 1

    @property
    def audio_dim(self) -> int | None:
        """Width of the audio embeddings, None for a model that hears nothing."""
        if self.audio_projection is None:
            return None
        return next(layer.in_features for layer in self.audio_projection if isinstance(layer, nn.Linear))

    def criterion(self) -> Criterion:
        """The loss that trains this model, with its preset's number of points, on the model's device."""
        criterion = Criterion(self.num_classes, points=self.spec["settings"]["loss_points"])
        return criterion.to(self.queries.positions.device)

    def from_features(
        self,
        features: list[Tensor],
        audio: Tensor | None,
        prior: Tensor | None = None,
        *,
        lengths: Sequence[int] | None = None,
        size: tuple[int, int],
        intermediates: bool = False,
    ) -> SegmentationOutput:
        """Predict classes and masks from the backbone's maps, every frame for itself; see `SegmentationModel`.

        Intermediates: `backbone` and `pixel_decoder` (lists of maps), `mask_features`, `mask_features_with_prior`,
        `audio`, `queries`, `key_positions`, `values`, `attention_masks` (True is blocked), `queries_normed`,
        `queries_last`.
        """
        check_sound_and_prior(self, len(features[0]), audio, prior, lengths)
        maps, mask_features = self.pixel_decoder(features)
        trace = {"backbone": features, "pixel_decoder": maps, "mask_features": mask_features}

        sound = None if self.audio_projection is None else self.audio_projection(audio)  # (N, C)
        queries = self.queries(sound, len(features[0]))
        keys = [sine_positions(m.shape[-2], m.shape[-1], m.shape[1], device=m.device) for m in maps]
        first_mask = None
        if prior is not None:
            keys = keys if self.prior_keys is None else [self.prior_keys(key, prior) for key in keys]
            if self.prior_fusion:
                mask_features = fuse_prior(mask_features, prior)
            if self.prior_mask:
                first_mask = prior_attention_mask(prior, maps[0].shape[-2:], queries.shape[1])
        trace.update(mask_features_with_prior=mask_features, audio=sound, queries=queries, key_positions=keys)

        layers = self.decoder(
            queries,
            self.queries.positions,
            maps,
            keys,
            mask_features,
            first_mask=first_mask,
            trace=trace if intermediates else None,
        )
        return SegmentationOutput(Predictions(layers, mask_features), size, trace if intermediates else None)

    def loss(
        self,
        output: SegmentationOutput,
        labels: Tensor,
        labelled: Tensor,
        *,
        lengths: Sequence[int] | None = None,
        whole: LossCounts | None = None,
        seeds: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """Compute the loss of every prediction against the best matching targets, see `Criterion`."""
        if whole is not None and whole.labelled and not labelled.any():
            return {"loss": 0 * output.mask_logits.sum()}
        if not labelled.all():
            output, labels = output.select(labelled), labels[labelled]
        targets, criterion = targets_from_labels(labels, output.input_size), self.criterion()
        points = None
        if seeds is not None:
            own = [seed for seed, has in zip(seeds, labelled.tolist(), strict=True) if has]
            points = criterion.draw_by_frame(output, targets, own)
        return criterion(output, targets, points=points, whole=whole)

    def loss_counts(self, labels: Tensor, labelled: Tensor, size: tuple[int, int]) -> LossCounts:
        """Count frames, and the masks to find in those with a label."""
        found = [len(classes) for classes in classes_present(resize_labels(labels[labelled], size))]
        queries = len(self.queries.positions)
        return LossCounts(len(labelled), len(found), sum(found), sum(min(count, queries) for count in found))

    def trainable_names(self, phase: int) -> list[str]:
        """Names of the parameters that the published recipe trains in a phase.

        A model without adapters trains all its weights in both phases.

        Args:
            phase: 1 trains queries, adapters of the decoders, class head, audio projection and prior
                embeddings; 2 the backbone's adapters as well.
        Raises: ValueError: If `phase` is neither.
        Source: the released code of Stepping Stones (ECCV 2024): stage 2 leaves the query features alone.
        """
        if phase not in (1, 2):
            raise ValueError(f"phase must be 1 or 2, not {phase}")
        names = [name for name, _ in self.named_parameters()]
        if not any(".adapter." in name for name in names):
            return names
        prefixes = ["queries.positions", "decoder.class_head.", "audio_projection.", "prior_keys."]
        if self.spec["task"] == "avs":
            prefixes.append("queries.features")
        if isinstance(self.pixel_decoder, FeaturePyramidPixelDecoder):
            prefixes.append("pixel_decoder.")  # no published weights to freeze
        return [name for name in names if _trained(name, tuple(prefixes), phase)]


def _trained(name: str, prefixes: tuple[str, ...], phase: int) -> bool:
    if name.startswith(prefixes):
        return True
    return ".adapter." in name and (phase == 2 or not name.startswith("backbone."))


@register_model("aavs")
def build_aavs(*, preset: str, task: str, num_classes: int | None, audio_dim: int | None, **overrides) -> AAVS:
    """Build AAVS with random weights, initialised as the released code does.

    Args:
        preset: "swin-b-384", the paper's, or "tiny", small enough to train from scratch on a CPU.
        task: "avs" (stage 1) or "avss" (stage 2).
        num_classes: K with the background; None is 2 for "avs" and 71 for "avss".
        audio_dim: Width of the audio embeddings; None for plain Mask2Former.
        overrides: Any setting of the preset, by name; see `presets.py`.
    Raises: ValueError: If a name or a value doesn't exist or fit.
    """
    settings = resolved_settings("aavs", preset, task, overrides)
    classes = class_count(task, num_classes)
    backbone = build_backbone(
        settings["backbone"],
        image_size=settings["image_size"],
        options=settings["backbone_options"],
        adapters=settings["backbone_adapters"],
        drop_path=settings["drop_path"],
        normalization=settings["normalization"],
    )
    dim = settings["hidden_dim"]
    model = AAVS(
        backbone,
        _build_pixel_decoder(backbone.channels, settings),
        AudioQueries(settings["queries"], dim, kind=settings["query"]),
        MaskedAttentionDecoder(
            dim,
            settings["mask_dim"],
            classes,
            layers=settings["decoder_layers"],
            heads=settings["heads"],
            hidden=settings["decoder_hidden"],
            adapters=settings["adapters"],
            masked=settings["masked_attention"],
        ),
        audio_projection=None if audio_dim is None else _audio_mlp(audio_dim, settings["audio_hidden"], dim),
        prior_keys=RobustAudioKeys(dim, low=settings["prior_low"], high=settings["prior_high"])
        if settings["prior_keys"]
        else None,
        prior_fusion=settings["prior_fusion"],
        prior_mask=settings["prior_mask"],
    )
    model.spec = {
        "name": "aavs",
        "preset": preset,
        "task": task,
        "num_classes": classes,
        "audio_dim": audio_dim,
        "settings": settings,
    }
    return model


def _audio_mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def _build_pixel_decoder(channels: tuple[int, ...], settings: dict) -> nn.Module:
    kind, dim, mask_dim = settings["pixel_decoder"], settings["hidden_dim"], settings["mask_dim"]
    if kind == "fpn":
        return FeaturePyramidPixelDecoder(channels, dim, mask_dim)
    if kind != "deformable":
        raise ValueError(f"pixel_decoder must be deformable or fpn, not {kind!r}")
    return DeformablePixelDecoder(
        channels,
        dim,
        mask_dim,
        layers=settings["pixel_layers"],
        heads=settings["heads"],
        points=settings["points"],
        hidden=settings["pixel_hidden"],
        adapters=settings["adapters"],
    )
