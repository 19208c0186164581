"""From a configuration to the model that is trained."""

from __future__ import annotations

import pytest

from avsctl.configs import resolve_training
from avsctl.errors import AvsctlError
from avsctl.stages.train import model_settings


def settings(task: str = "avss", **given):
    return model_settings(resolve_training(task, None, "all", given))


def test_nothing_asked_is_nothing_changed():
    assert settings(prior="oracle") == {}
    assert settings(task="avs") == {}


def test_the_single_stage_model_has_no_use_for_a_prior():
    assert settings(prior="none") == {"prior_fusion": False, "prior_mask": False, "prior_keys": False}


def test_another_backbone_takes_nothing_of_the_presets_own():
    asked = settings(prior="oracle", backbone="resnet18", normalization="symmetric")
    expected = {"backbone": "resnet18", "normalization": "symmetric", "backbone_options": {}}
    assert asked == {**expected, "backbone_adapters": False}


def test_components_are_switched_off_one_by_one():
    assert settings(prior="oracle", without=("robust-keys", "adaptive-query")) == {
        "prior_keys": False,
        "query": "repeated",
    }


def test_an_option_that_a_model_has_no_use_for_is_refused():
    with pytest.raises(AvsctlError, match="aavs has nothing for --audio-loss to change. Leave it out"):
        settings(audio_loss="kl")
