"""What a model's recipe says of a training, and what a user's options change in it."""

from __future__ import annotations

import pytest

from avsctl.configs import RECIPES, auto_preset, resolve_training
from avsctl.errors import AvsctlError
from avsctl_models.presets import PRESETS


def resolve(model: str, task: str, subset: str, **given):
    return resolve_training(task, None, subset, {"model": model, **given})


def test_every_preset_has_a_recipe():
    for model, presets in PRESETS.items():
        assert list(RECIPES[model]) == list(presets)


def test_the_paper_trains_ms3_for_fifty_epochs_one_clip_a_step():
    config = resolve("aavs-swin-b-384", "avs", "ms3")
    assert (config.epochs, config.batch_clips, config.clip_norm, config.s4_frames) == (50, 1, 0.01, "repeat")
    config = resolve("aavs-swin-b-384", "avss", "all")
    assert (config.clip_norm, config.shuffle, config.weight_decay) == (None, False, 0.05)


@pytest.mark.parametrize("preset", ["pvt", "r50"])
@pytest.mark.parametrize(
    "task, subset, epochs, audio_loss", [("avs", "s4", 15, None), ("avs", "ms3", 30, "kl"), ("avss", "all", 60, None)]
)
def test_tpavi_is_trained_as_avsbench_published_it(preset, task, subset, epochs, audio_loss):
    config = resolve(f"tpavi-{preset}", task, subset)
    assert (config.epochs, config.audio_loss) == (epochs, audio_loss)
    assert (config.optimizer, config.lr, config.weight_decay) == ("adam", 1e-4, 0)
    assert (config.schedule, config.frozen_epochs, config.clip_norm) == ("constant", 0, None)
    assert (config.batch_clips, config.s4_frames, config.frames_per_clip) == (4, "all", None)


@pytest.mark.parametrize(
    "task, subset, epochs, frozen, clips",
    [("avs", "s4", 30, 5, 2), ("avs", "ms3", 60, 10, 2), ("avss", "all", 30, 0, 4)],
)
def test_avsegformer_is_trained_as_published(task, subset, epochs, frozen, clips):
    config = resolve("avsegformer-pvt", task, subset)
    assert (config.epochs, config.frozen_epochs, config.batch_clips) == (epochs, frozen, clips)
    assert (config.optimizer, config.lr, config.weight_decay) == ("adamw", 2e-5, 0.01)
    assert (config.schedule, config.s4_frames) == ("constant", "all")


def test_what_is_given_goes_before_the_recipe():
    config = resolve("aavs-tiny", "avs", "all", epochs=3, lr=None, shuffle=False)
    assert (config.epochs, config.shuffle) == (3, False)
    assert config.lr == resolve("aavs-tiny", "avs", "all").lr


def test_a_model_is_named_with_or_without_its_preset():
    split, joined = resolve_training("avs", "tiny", "s4", {"model": "aavs"}), resolve("aavs-tiny", "avs", "s4")
    assert split == joined and (joined.model, joined.preset) == ("aavs", "tiny")
    assert joined.run_name == "aavs-tiny-s4-none-s3407"
    with pytest.raises(AvsctlError, match="in the preset tiny already, not in swin-b-384. Choose another --model"):
        resolve_training("avs", "swin-b-384", "all", {"model": "aavs-tiny"})
    with pytest.raises(AvsctlError, match="no model named 'fcn'"):
        resolve("fcn", "avs", "all")


def test_auto_is_the_published_preset_on_a_gpu_else_tiny():
    assert auto_preset("aavs", on_gpu=True) == "swin-b-384"
    assert auto_preset("aavs", on_gpu=False) == "tiny"
    assert auto_preset("aavs-swin-b-384", on_gpu=False) == "swin-b-384"


def test_a_run_can_be_named():
    assert resolve("aavs", "avs", "all", name="table3.repeated-s1").run_name == "table3.repeated-s1"
    for name in ("../elsewhere", "a/b", ".hidden", "", "ä", "x" * 121, "a b"):
        with pytest.raises(AvsctlError, match="can't name a run's folder"):
            resolve("aavs", "avs", "all", name=name)
