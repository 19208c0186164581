from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from avsctl_models.audio import yamnet
from avsctl_models.audio.encoders import encoder
from avsctl_models.audio.frontend import examples, log_mel

SHARED = Path(os.environ.get("AVSCTL_SHARED", Path(__file__).parents[3] / "shared"))
WEIGHTS = SHARED / "weights" / "yamnet.audioset.safetensors"
CLASSES = SHARED / "weights" / "yamnet_class_map.csv"
REAL = SHARED / "avs_real"
needs_weights = pytest.mark.skipif(not WEIGHTS.is_file(), reason="no YAMNet weights here")
# What avs_real calls a class, and the AudioSet classes that may answer for it.
GROUPS = {
    "dog": ("Dog", "Bark", "Howl"),
    "cat": ("Cat", "Meow", "Purr"),
    "bird": ("Bird", "Crow", "Chicken, rooster"),
    "speech": ("Speech",),
    "vehicle": ("Vehicle", "Rail transport", "Aircraft"),
}


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("yamnet") / "yamnet.safetensors"
    save_file(yamnet.Yamnet().state_dict(), path)
    return path


def test_parameters_are_named_as_in_the_weights_file():
    state = yamnet.Yamnet().state_dict()
    assert len(state) == 56
    assert state["conv1.weight"].shape == (32, 1, 3, 3)
    assert state["layers.1.dw.weight"].shape == (64, 1, 3, 3)
    assert state["layers.12.pw.weight"].shape == (1024, 1024, 1, 1)
    assert state["classifier.weight"].shape == (521, 1024)


@pytest.mark.parametrize(("tap", "first"), [(0, 0), (1, 1), (2, 2)])
def test_strided_layers_are_padded_at_the_bottom_and_right(tap, first):
    network = yamnet.Yamnet()
    with torch.no_grad():
        network.conv1.weight.zero_()[0, 0, tap, tap] = 1.0
        network.conv1.bias.zero_()
        picture = torch.arange(1.0, 65.0).reshape(1, 1, 8, 8)
        padded = torch.nn.functional.pad(picture, (0, 1, 0, 1))
        seen = network.conv1(yamnet._same_padding(picture, 2))[0, 0]
    assert torch.equal(seen, padded[0, 0, first : first + 7 : 2, first : first + 7 : 2])


def test_last_maps_are_three_by_two():
    network = yamnet.Yamnet()
    maps = network.conv1(yamnet._same_padding(torch.zeros(1, 1, 96, 64), 2))
    sizes = [tuple(maps.shape[2:])]
    for layer in network.layers:
        maps = layer(maps)
        sizes.append(tuple(maps.shape[2:]))
    assert sizes[0] == (48, 32) and sizes[-1] == (3, 2)


def test_second_means_average_the_patches_centred_in_each_second():
    # Centres: 0.4875 0.9675 | 1.4475 1.9275 | 2.4075 2.8875
    patches = np.array([[0.0], [2.0], [4.0], [8.0], [1.0], [3.0]])
    assert yamnet.second_means(patches).tolist() == [[1.0], [6.0], [2.0]]
    assert yamnet.second_means(patches[:3]).tolist() == [[1.0], [4.0]]
    assert yamnet.second_means(patches[:1]).tolist() == [[0.0]]


def test_encoder_averages_patches_and_fills_up(random_weights):
    wave = np.random.default_rng(0).uniform(-0.4, 0.4, 48000)
    patches = examples(log_mel(wave, 16000, 0.001), hop=48)
    embedded = yamnet.load_yamnet(random_weights).embed(patches)
    made = encoder("yamnet", random_weights).encode(wave, 16000, 5)
    assert made.shape == (5, 1024) and made.dtype == np.float32
    assert np.allclose(made[0], embedded[:2].mean(axis=0), atol=1e-6)
    assert np.allclose(made[1], embedded[2:4].mean(axis=0), atol=1e-6)
    assert np.array_equal(made[4], made[2])


def test_vggish_examples_become_yamnet_patches(random_weights):
    wave = np.random.default_rng(1).uniform(-0.4, 0.4, 16000)
    made = encoder("yamnet", random_weights).encode_examples(examples(log_mel(wave, 16000)), 2)
    expected = yamnet.load_yamnet(random_weights).embed(examples(log_mel(wave, 16000, 0.001), hop=48)[:1])
    assert np.allclose(made, expected, atol=1e-5)


def test_weights_that_do_not_fit_are_refused(random_weights, tmp_path):
    state = yamnet.Yamnet().state_dict()
    state.pop("classifier.bias")
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(ValueError, match="classifier.bias is missing"):
        encoder("yamnet", tmp_path / "part.safetensors")


def _group_scores(encoding, classifier, wave, rate) -> str:
    names = [row["display_name"] for row in csv.DictReader(CLASSES.open(encoding="utf-8"))]
    scores = torch.sigmoid(classifier(torch.from_numpy(encoding.encode(wave, rate, 5)))).mean(dim=0)
    return max(GROUPS, key=lambda group: max(float(scores[names.index(name)]) for name in GROUPS[group]))


@needs_weights
@pytest.mark.skipif(not REAL.is_dir(), reason="no real sounds here")
def test_real_sounds_are_recognised():
    merged = {"man": "speech", "woman": "speech", "car": "vehicle", "train": "vehicle", "airplane": "vehicle"}
    encoding = encoder("yamnet", WEIGHTS)
    classifier = yamnet.load_yamnet(WEIGHTS).classifier
    right = []
    for row in csv.DictReader((REAL / "metadata.csv").open(encoding="utf-8")):
        label = merged.get(row["a_obj"], row["a_obj"])
        if row["label"] != "v1s" or row["split"] == "train" or label not in GROUPS:
            continue
        wave, rate = soundfile.read(REAL / "v1s" / row["uid"] / "audio.wav", dtype="int16")
        right.append(_group_scores(encoding, classifier, wave, rate) == label)
    assert len(right) > 30
    assert np.mean(right) > 0.8  # chance is 0.2 to 0.35
