"""Transformer decoders that turn queries into classes and masks."""

from avsctl_models.decoders.masked_attention import MaskedAttentionDecoder
from avsctl_models.decoders.queries import QueryGenerator, QueryLayer

__all__ = ["MaskedAttentionDecoder", "QueryGenerator", "QueryLayer"]
