"""What every segmentation model offers, whatever is inside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from avsctl_models.backbones import Backbone
from avsctl_models.inputs import check_frames, check_sound_and_prior
from avsctl_models.loss_counts import LossCounts
from avsctl_models.outputs import Output


class SegmentationModel(nn.Module, ABC):
    """Base of all models: frames, sound and a prior in, an `Output` out.

    `forward` is its checks and `from_features(backbone(frames), …)`, so that maps of a frozen backbone can be kept.

    Attributes:
        backbone: Gives four maps of normalised frames.
        spec: What the model can be built from again: name, preset, task, num_classes, audio_dim and settings.
        class_rows: Names of the tensors with a row for each class in index order, and perhaps one for "no object"
            behind them.
        sees_clips: Whether what it says of a frame depends on the others of its clip.
    """

    spec: dict[str, Any]
    class_rows: ClassVar[tuple[str, ...]] = ()
    sees_clips: ClassVar[bool] = False

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = backbone
        self.spec = {}

    @property
    def image_size(self) -> int:
        """Usual height and width of the frames, in pixels."""
        return self.spec["settings"]["image_size"]

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """Number of classes K, the background among them, "no object" not."""

    @property
    @abstractmethod
    def audio_dim(self) -> int | None:
        """Width of the audio embeddings, None for a model that hears nothing."""

    @property
    @abstractmethod
    def uses_prior(self) -> bool:
        """Whether a prior changes anything."""

    def normalize(self, frames: Tensor) -> Tensor:
        """Scale RGB frames (N, 3, H, W), uint8 or float from 0 to 255, as the backbone expects them."""
        return self.backbone.normalize(frames)

    def forward(
        self,
        frames: Tensor,
        audio: Tensor | None,
        prior: Tensor | None = None,
        *,
        lengths: Sequence[int] | None = None,
        intermediates: bool = False,
    ) -> Output:
        """Predict from frames.

        Args:
            frames: (N, 3, H, W) normalised by `normalize`.
            audio: (N, D) one embedding per frame; None for a model that hears nothing.
            prior: (N, h, w) probability in [0, 1] that a pixel sounds, any size; None leaves its uses out.
            lengths: Frames of each clip, N in all; None for one clip. A model that looks at every frame alone makes
                no use of it.
            intermediates: Whether to keep inner tensors; which, `from_features` says.
        Raises: ValueError: If shapes don't fit, or audio or prior is given to a model without use for it.
        """
        check_frames(frames)
        check_sound_and_prior(self, len(frames), audio, prior, lengths)
        size = (frames.shape[-2], frames.shape[-1])
        features = self.backbone(frames)
        return self.from_features(features, audio, prior, lengths=lengths, size=size, intermediates=intermediates)

    @abstractmethod
    def from_features(
        self,
        features: list[Tensor],
        audio: Tensor | None,
        prior: Tensor | None = None,
        *,
        lengths: Sequence[int] | None = None,
        size: tuple[int, int],
        intermediates: bool = False,
    ) -> Output:
        """Predict from the backbone's maps; see `forward`.

        Args:
            features: Four maps (N, C, h, w), as `backbone(frames)` gives them.
            size: (H, W) of the frames.
        """

    @abstractmethod
    def loss(
        self,
        output: Any,
        labels: Tensor,
        labelled: Tensor,
        *,
        lengths: Sequence[int] | None = None,
        whole: LossCounts | None = None,
        seeds: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """Compute the training loss of the frames that have a label.

        Args:
            output: What this model gave for all N frames.
            labels: (N, s, s) uint8 class indices, 255 for pixels that belong to nothing.
            labelled: (N,) bool, whether a frame has a label.
            lengths: Frames of each clip, N in all; None for one clip.
            whole: Counts of the batch of which these frames are a part: the losses of all parts, and so their
                gradients, then add up to those of the batch. None: the frames are all there is.
            seeds: One for each frame, from which everything that the loss draws for it follows, whatever the company;
                None draws from torch's own generator.
        Returns: "loss", to be minimised, and its parts.
        Raises: ValueError: If no frame, of the whole, has a label.
        """

    def loss_counts(self, labels: Tensor, labelled: Tensor, size: tuple[int, int]) -> LossCounts:
        """Count what `loss` divides by.

        Args:
            labels: (N, s, s) and labelled: (N,), as `loss` takes them.
            size: (H, W) of the frames.
        """
        return LossCounts(len(labelled), int(labelled.sum()))

    def trainable_names(self, phase: int) -> list[str]:
        """Names of the parameters that the published recipe trains in phase 1, all but the backbone's, or 2, all.

        Raises: ValueError: If `phase` is neither.
        """
        if phase not in (1, 2):
            raise ValueError(f"phase must be 1 or 2, not {phase}")
        return [name for name, _ in self.named_parameters() if phase == 2 or not name.startswith("backbone.")]

    def zero_backbone_adapters(self) -> None:
        """Set the backbone's adapters to zero, as phase 1 has them: what is left is the pretrained one."""
        for adapter in self.backbone.adapters():
            adapter.zero()

    def reset_backbone_adapters(self) -> None:
        """Draw the backbone's adapters anew from N(0, 0.02), biases zero, as phase 2 starts them."""
        for adapter in self.backbone.adapters():
            adapter.reset(std=0.02)
