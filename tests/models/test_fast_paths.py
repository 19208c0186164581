"""What is computed in a faster way gives what the plain way gives."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from timm.layers import DropPath
from timm.models.swin_transformer import WindowAttention

from avsctl_models.adapters import AdaptedProjection
from avsctl_models.backbones import build_backbone
from avsctl_models.decoders import masked_attention
from avsctl_models.pieces import in_pieces
from avsctl_models.pixel_decoders.sampling import sample_grids, sample_levels, sample_rows
from avsctl_models.predictions import Predictions
from avsctl_models.swin_blocks import PiecewiseWindowAttention, run_stage

SIZES = [(3, 2), (6, 5), (12, 9)]


def points(frames: int = 2, queries: int = 20) -> list[torch.Tensor]:
    """Values, places reaching outside on all sides, and weights, that need gradients."""
    generator = torch.Generator().manual_seed(3)
    cells = sum(height * width for height, width in SIZES)
    values = torch.randn(frames, cells, 4, 8, generator=generator)
    x, y = (6 * torch.randn(2, frames, queries, 4, len(SIZES), 3, generator=generator) + 3).unbind()
    weights = torch.rand(frames, queries, 4, len(SIZES), 3, generator=generator)
    return [tensor.requires_grad_() for tensor in (values, x, y, weights)]


def outcome(function, inputs):
    """What a function of the inputs gives, and the gradients of a random sum of it."""
    made = function(*inputs)
    given = torch.randn(made.shape, generator=torch.Generator().manual_seed(5))
    return [made, *torch.autograd.grad(made, inputs, given)]


@pytest.mark.parametrize("together", [1, 2, 5])
def test_points_read_as_rows_are_those_of_grid_sample(monkeypatch, together):
    inputs = points(frames=5)
    monkeypatch.setattr("avsctl_models.pixel_decoders.sampling._POINTS", together * inputs[3][0].numel())
    assert min(tensor.min() for tensor in inputs[1:3]) < -2 and max(tensor.max() for tensor in inputs[1:3]) > 13
    wanted = outcome(lambda *given: sample_grids(*given, SIZES), inputs)
    for mine, plain in zip(outcome(lambda *given: sample_rows(*given, SIZES), inputs), wanted, strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-4, atol=2e-5)


def test_only_wanted_gradients_of_points_are_computed():
    values, x, y, weights = points()
    whole = outcome(lambda *given: sample_rows(*given, SIZES), [values, x, y, weights])
    by_values = outcome(lambda given: sample_rows(given, x.detach(), y.detach(), weights.detach(), SIZES), [values])
    torch.testing.assert_close(by_values[1], whole[1], rtol=0, atol=0)
    by_place = outcome(lambda given: sample_rows(values.detach(), given, y.detach(), weights.detach(), SIZES), [x])
    torch.testing.assert_close(by_place[1], whole[2], rtol=0, atol=0)


def test_places_that_are_no_numbers_give_no_numbers():
    values, x, y, weights = (tensor.detach() for tensor in points())
    x[0, 0, 0, 0, 0] = float("nan")
    y[0, 1, 0, 0, 0] = float("inf")
    read = sample_rows(values, x, y, weights, SIZES)
    assert read[0, 0, 0].isnan().all()
    assert read.isnan().sum() == values.shape[-1]  # an infinite place lies outside


def test_a_level_of_one_row_is_read_by_grid_sample():
    values, x, y, weights = (tensor.detach() for tensor in points())
    sizes = [(1, 6), (6, 5), (12, 9)]
    torch.testing.assert_close(
        sample_levels(values, x, y, weights, sizes), sample_grids(values, x, y, weights, sizes), rtol=0, atol=0
    )


@pytest.mark.parametrize("frames", [[], [1, 1], [0, 0, 2]])
def test_chosen_masks_are_some_of_all_masks(frames):
    generator = torch.Generator().manual_seed(2)
    embeddings = torch.randn(4, 3, 5, 8, generator=generator, requires_grad=True)
    features = torch.randn(3, 8, 6, 7, generator=generator, requires_grad=True)
    predictions = Predictions([(torch.zeros(3, 5, 2), made) for made in embeddings], features)
    frames = torch.tensor(frames, dtype=torch.long).expand(4, -1)
    queries = torch.randint(5, frames.shape, generator=generator)
    plain = torch.einsum("lnqc,nchw->lnqhw", embeddings, features)
    torch.testing.assert_close(torch.stack([masks for _, masks in predictions]), plain, rtol=1e-5, atol=1e-5)
    plain = plain[torch.arange(4)[:, None], frames, queries]
    chosen = predictions.chosen_masks(frames, queries)
    torch.testing.assert_close(chosen, plain, rtol=1e-5, atol=1e-5)
    given = torch.randn(chosen.shape, generator=generator)
    wanted = torch.autograd.grad(plain, (embeddings, features), given)
    for mine, theirs in zip(torch.autograd.grad(chosen, (embeddings, features), given), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(24, 16), (12, 8), (6, 4), (3, 2), (16, 8), (5, 7)])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_features_are_resized_as_by_interpolation(size, kind):
    features = torch.randn(2, 5, 48, 32, generator=torch.Generator().manual_seed(0)).to(kind)
    plain = F.interpolate(features.float(), size, mode="bilinear", align_corners=False).flatten(2)
    torch.testing.assert_close(masked_attention.resized(features, size), plain.to(kind))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("heads", [2, 8])
@pytest.mark.parametrize("frames", [1, 3])
def test_window_attention_in_pieces_is_timms(monkeypatch, masked, heads, frames):
    torch.manual_seed(0)
    theirs = WindowAttention(32, heads, window_size=4)
    theirs.fused_attn = False
    ours = PiecewiseWindowAttention.like(theirs)
    monkeypatch.setattr("avsctl_models.swin_blocks._LOGITS", 3 * 2 * 16 * 16)  # three windows of two heads at a time
    x = torch.randn(frames * 6, 16, 32)
    mask = torch.where(torch.rand(6, 16, 16) < 0.3, -100.0, 0.0) if masked else None
    plain = theirs(x, mask)
    with torch.no_grad():
        torch.testing.assert_close(ours(x, mask), plain, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours(x, mask), plain, rtol=1e-5, atol=1e-6)  # with gradients: fused


@pytest.fixture(scope="module")
def swin():
    """A small Swin with adapters and stochastic depth whose last stages have shifted windows."""
    torch.manual_seed(0)
    return build_backbone(
        "swin_tiny_patch4_window7_224",
        image_size=64,
        options={"embed_dim": 16, "depths": (2, 2, 2, 2), "num_heads": (2, 2, 4, 4), "window_size": 2},
        adapters=True,
        drop_path=0.4,
    )


def timms_maps(swin, frames):
    """The maps that timm's own blocks give."""
    tokens, maps = swin.patch_embed(frames), []
    for layer, norm in zip(swin.layers, swin.norms, strict=True):
        tokens = layer(tokens)
        maps.append(norm(tokens).permute(0, 3, 1, 2))
    return maps


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_swin_is_timms_with_the_same_frames_dropped(monkeypatch, swin, training, gradient):
    monkeypatch.setattr("avsctl_models.pieces._ELEMENTS", 5 * 64)  # a few tokens at a time
    frames = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    swin.train(training)
    with torch.set_grad_enabled(gradient):
        torch.manual_seed(7)
        wanted = timms_maps(swin, frames)
        torch.manual_seed(7)
        made = swin(frames)
    drops = [module for module in swin.modules() if isinstance(module, DropPath) and module.drop_prob]
    assert len(drops) == 8
    for mine, plain in zip(made, wanted, strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-4, atol=1e-5)
    if gradient:
        weights = [parameter for name, parameter in swin.named_parameters() if "norms." not in name]
        parts = [torch.autograd.grad(sum(m.square().sum() for m in maps), weights) for maps in (made, wanted)]
        for mine, plain in zip(*parts, strict=True):
            torch.testing.assert_close(mine, plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("training", [False, True])
def test_the_residual_stream_keeps_its_precision_beside_branches_of_a_lower_one(monkeypatch, swin, training):
    monkeypatch.setattr("avsctl_models.swin_blocks._attend", lambda block, x, mask: torch.ones_like(x).bfloat16())
    monkeypatch.setattr("avsctl_models.swin_blocks._add_mlp", lambda block, x: x)
    swin.train(training)
    torch.manual_seed(0)
    x = torch.full((4, 16, 16, 16), 2.0**-10)
    added = run_stage(swin.layers[0], x) - x  # of two blocks, each 0 or 1 / 0.6 in training
    assert added.dtype == torch.float32
    torch.testing.assert_close(added, (0.6 * added).round() / 0.6 if training else torch.full_like(x, 2.0))


def test_an_adapter_of_zeros_is_left_out_only_where_it_learns_nothing():
    adapted = AdaptedProjection(None, 8, residual=True)
    adapted.adapter.zero()
    x = torch.randn(2, 8)
    assert adapted(x).requires_grad  # it may learn
    adapted.requires_grad_(False)
    assert adapted(x) is x
    adapted.adapter.up.bias[3] = 0.5
    assert torch.equal(adapted(x) - x, torch.tensor([0, 0, 0, 0.5, 0, 0, 0, 0]).expand(2, -1))
    replacing = copy.deepcopy(adapted)
    replacing.residual = False
    replacing.adapter.zero()
    assert not replacing(x).any()


@pytest.mark.parametrize("learning", [False, True])
def test_pieces_give_the_whole_and_its_gradient(monkeypatch, learning):
    monkeypatch.setattr("avsctl_models.pieces._ELEMENTS", 4)
    seen = []
    weight = torch.tensor([2.0, 3.0], requires_grad=True)

    def square(part):
        seen.append(len(part))
        return weight * part.square()

    tokens = torch.arange(10.0).view(5, 2).requires_grad_(learning)
    with torch.set_grad_enabled(learning):
        made = in_pieces(square, tokens, each=2)
    assert seen == [2, 2, 1]
    assert torch.equal(made, torch.tensor([2.0, 3.0]) * torch.arange(10.0).view(5, 2).square())
    if learning:
        made.sum().backward()
        assert torch.equal(tokens.grad, 2 * weight * tokens)
        assert torch.equal(weight.grad, tokens.square().sum(0))


def test_pieces_of_several_tensors_are_alike_long(monkeypatch):
    monkeypatch.setattr("avsctl_models.pieces._ELEMENTS", 9)
    seen = []

    def total(coarse, fine):
        seen.append(len(coarse))
        return (coarse + F.interpolate(fine, (2, 2))).flatten(1)

    coarse, fine = torch.randn(4, 1, 2, 2), torch.randn(4, 1, 1, 1)
    assert torch.equal(in_pieces(total, coarse, fine, each=3), (coarse + fine).flatten(1))
    assert seen == [2, 2]
