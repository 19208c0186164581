"""Networks that turn four backbone maps into mask features, and into levels for attention."""

from avsctl_models.pixel_decoders.deformable import DeformablePixelDecoder
from avsctl_models.pixel_decoders.dilated_pyramid import DilatedProjection, ResidualPyramid
from avsctl_models.pixel_decoders.fpn import FeaturePyramidPixelDecoder
from avsctl_models.pixel_decoders.memory import MemoryPixelDecoder

__all__ = [
    "DeformablePixelDecoder",
    "DilatedProjection",
    "FeaturePyramidPixelDecoder",
    "MemoryPixelDecoder",
    "ResidualPyramid",
]
