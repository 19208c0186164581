"""Networks that turn four backbone maps into three levels for attention and one map of mask features."""

from avsctl_models.pixel_decoders.deformable import DeformablePixelDecoder
from avsctl_models.pixel_decoders.fpn import FeaturePyramidPixelDecoder

__all__ = ["DeformablePixelDecoder", "FeaturePyramidPixelDecoder"]
