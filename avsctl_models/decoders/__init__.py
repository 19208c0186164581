"""Transformer decoders that turn queries into classes and masks."""

from avsctl_models.decoders.masked_attention import MaskedAttentionDecoder

__all__ = ["MaskedAttentionDecoder"]
