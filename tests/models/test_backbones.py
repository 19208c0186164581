"""Backbones give four maps, know their normalisation, and refuse what doesn't fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from avsctl_models.backbones import build_backbone, load_backbone_weights

BASELINES = Path(__file__).parents[1] / "data" / "golden" / "baselines"
SWIN = {"embed_dim": 12, "depths": [2, 1, 2, 2], "num_heads": [1, 2, 2, 4], "window_size": 2}


@pytest.mark.parametrize(
    "name", ["resnet10t", "mobilenetv2_035", "convnext_atto", "pvt_v2_b0", "swin_tiny_patch4_window7_224"]
)
def test_timm_networks_give_four_maps(name):
    swin = name.startswith("swin")
    size = 224 if swin else 64
    backbone = build_backbone(name, image_size=size).eval()
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, size, size))
    shapes = [(1, c, size // s, size // s) for c, s in zip(backbone.channels, (4, 8, 16, 32), strict=True)]
    assert [tuple(m.shape) for m in maps] == shapes


def test_networks_without_four_strides_are_refused():
    with pytest.raises(ValueError, match="strides"):
        build_backbone("vit_tiny_patch16_224", image_size=224)


def test_unknown_names_are_refused_with_similar_ones():
    with pytest.raises(ValueError, match="similar: resnet"):
        build_backbone("resnet_11", image_size=64)


def test_adapters_are_for_swin_only():
    with pytest.raises(ValueError, match="Swin only"):
        build_backbone("resnet10t", image_size=64, adapters=True)


def test_frames_that_do_not_fill_swin_s_windows_are_refused():
    backbone = build_backbone("swin_base_patch4_window12_384", image_size=64, options=SWIN)
    with pytest.raises(ValueError, match="multiples of 64"):
        backbone(torch.randn(1, 3, 96, 64))


def test_swin_takes_other_sizes_than_it_was_built_for():
    torch.manual_seed(0)
    small = build_backbone("swin_base_patch4_window12_384", image_size=64, options=SWIN).eval()
    large = build_backbone("swin_base_patch4_window12_384", image_size=128, options=SWIN).eval()
    large.load_state_dict(small.state_dict())
    frames = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        assert torch.equal(small(frames)[3], large(frames)[3])


def test_swin_shifts_its_windows_even_where_one_covers_the_map():
    backbone = build_backbone("swin_base_patch4_window12_384", image_size=64, options=SWIN)
    assert [tuple(block.shift_size) for block in backbone.layers[3].blocks] == [(0, 0), (1, 1)]


@pytest.mark.parametrize(
    ("normalization", "black", "white"),
    [
        (
            "imagenet",
            [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225],
            [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225],
        ),
        ("symmetric", [-1.0] * 3, [1.0] * 3),
    ],
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_frames_are_normalised_as_the_weights_expect(normalization, black, white, dtype):
    backbone = build_backbone("resnet10t", image_size=64, normalization=normalization)
    frames = torch.stack([torch.zeros(3, 2, 2), torch.full((3, 2, 2), 255.0)]).to(dtype)
    normalised = backbone.normalize(frames)[:, :, 0, 0]
    torch.testing.assert_close(normalised, torch.tensor([black, white]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto", "mobilenetv2_035"])
def test_timm_s_own_weights_load_and_give_the_same_maps(name):
    torch.manual_seed(0)
    classifier = timm.create_model(name, pretrained=False).eval()
    backbone = build_backbone(name, image_size=64).eval()
    unused = load_backbone_weights(backbone, classifier.state_dict())
    assert any(key.startswith(("fc.", "head.", "classifier.")) for key in unused)
    frames = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = backbone(frames)[3], classifier.forward_intermediates(frames)[1][-1]
    assert torch.equal(ours, theirs)


def test_swin_weights_load_past_norms_and_adapters():
    classifier = timm.create_model("swin_base_patch4_window12_384", pretrained=False, img_size=64, **SWIN)
    backbone = build_backbone("swin_base_patch4_window12_384", image_size=64, options=SWIN, adapters=True)
    load_backbone_weights(backbone, classifier.state_dict())
    ours, theirs = backbone.layers[2].blocks[1].mlp.fc2.projection, classifier.layers[2].blocks[1].mlp.fc2
    assert torch.equal(ours.weight, theirs.weight)


def test_weights_of_another_network_are_refused_by_name():
    backbone = build_backbone("resnet10t", image_size=64)
    with pytest.raises(ValueError, match="first conv1"):
        load_backbone_weights(backbone, {"conv_stem.weight": torch.zeros(1)})


def test_weights_of_pvt_s_authors_load_under_their_own_names():
    """AVSBench and AVSegFormer start from `pvt_v2_b5.pth`, whose names are not timm's."""
    small = {"embed_dims": [16, 32, 40, 64], "depths": [1, 1, 2, 1], "num_heads": [1, 2, 5, 8]}
    sizes = {"mlp_ratios": [4, 4, 4, 4], "sr_ratios": [8, 4, 2, 1]}
    backbone = build_backbone("pvt_v2_b5", image_size=64, options={**small, **sizes})
    recorded = load_file(BASELINES / "avsegformer_tiny_pvt_s4.safetensors")
    prefix = "w.backbone."
    state = {name.removeprefix(prefix): t for name, t in recorded.items() if name.startswith(prefix)}
    unused = load_backbone_weights(backbone, {**state, "head.weight": torch.zeros(1)})
    assert unused == ["head.weight"]
    loaded = backbone.network.state_dict()
    assert torch.equal(loaded["stages_2.blocks.1.attn.q.weight"], state["block3.1.attn.q.weight"])
