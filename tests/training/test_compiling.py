"""Compiled parts give what plain ones do, under the same names, for any number of frames."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from avsctl.errors import AvsctlError
from avsctl.training import compiling
from avsctl.training.compiling import compile_parts
from avsctl_models import create_model


@pytest.fixture
def traced(monkeypatch):
    """Parts are traced as for inductor, and run as they are: no C++ is compiled, which takes minutes."""
    graphs = []

    def count(graph: torch.fx.GraphModule, inputs):
        graphs.append(graph)
        return graph.forward

    plain = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **given: plain(self, backend=count, **given))
    torch._dynamo.reset()
    yield graphs
    torch._dynamo.reset()


def test_outputs_are_the_same_and_not_every_number_of_frames_needs_new_graphs(traced):
    torch.manual_seed(0)
    model = create_model("aavs", preset="tiny", task="avs", audio_dim=8, image_size=64).eval()
    names, counts = list(model.state_dict()), []
    frames, audio = torch.randn(10, 3, 64, 64), torch.randn(10, 8)
    with torch.inference_mode():
        expected = {n: model(frames[:n], audio[:n]).mask_logits for n in (10, 5, 3, 7)}
        assert compile_parts(model) is model
        for n, plain in expected.items():
            torch.testing.assert_close(model(frames[:n], audio[:n]).mask_logits, plain, rtol=1e-4, atol=1e-4)
            counts.append(len(traced))
    assert counts[1] == counts[3] <= 2 * counts[0]  # parts are traced again when the number first changes
    assert not torch._dynamo.utils.counters["graph_break"]
    assert list(model.state_dict()) == names


def test_a_compiled_part_learns_as_a_plain_one(traced):
    torch.manual_seed(0)
    model = create_model("aavs", preset="tiny", task="avs", audio_dim=8, image_size=64)
    frames, audio = torch.randn(3, 3, 64, 64), torch.randn(3, 8)
    gradients = []
    for wanted in (False, True):
        model.zero_grad()
        output = compile_parts(model, wanted)(frames, audio)
        (output.mask_logits.mean() + output.class_logits.square().mean()).backward()
        gradients.append({name: one.grad for name, one in model.named_parameters() if one.grad is not None})
    assert traced and gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_without_a_compiler_nothing_begins(monkeypatch):
    from torch._inductor import cpp_builder, exc

    def refuse():
        raise exc.InvalidCxxCompiler()

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", refuse)
    with pytest.raises(AvsctlError, match="needs a C\\+\\+ compiler"):
        compile_parts(create_model("aavs", preset="tiny", task="avs", image_size=64))
    assert compiling.compile_parts(nn.Linear(1, 1), wanted=False)
