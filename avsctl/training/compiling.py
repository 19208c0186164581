"""`torch.compile` of the parts of a model that are pure tensor arithmetic."""

from __future__ import annotations

from torch import nn

from avsctl.errors import AvsctlError
from avsctl_models import SegmentationModel

PARTS = ("backbone", "pixel_decoder", "decoder")


def compile_parts(model: SegmentationModel, wanted: bool = True) -> SegmentationModel:
    """Compile a model's parts in place, if `wanted`, at their next call; parameters keep their names.

    What is left alone: the matching of the loss, which leaves PyTorch for SciPy, and the joints between the parts.
    A part is compiled again where the number of frames first changes, for all numbers then; with every size open from
    the start inductor fails on AVSegFormer's pixel decoder.

    Raises: AvsctlError: If there is no C++ compiler.
    """
    if not wanted:
        return model
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise AvsctlError(
            "--compile needs a C++ compiler. Install g++ or clang++, name one in CXX, or leave --compile out."
        ) from None
    for part in _parts(model):
        part.compile()
    return model


def _parts(model: SegmentationModel) -> list[nn.Module]:
    return [getattr(model, name) for name in PARTS if hasattr(model, name)]
