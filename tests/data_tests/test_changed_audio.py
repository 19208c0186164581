"""Changed sound: what becomes of a wave, and whose sound a clip gets."""

from __future__ import annotations

import numpy as np
import pytest

from avsctl.data.changed_audio import ChangedAudio, SoundChange, fit_length, other_clips
from avsctl.errors import AvsctlError

RATE = 100


@pytest.fixture
def wave() -> np.ndarray:
    return np.random.default_rng(3).normal(0, 0.1, (5 * RATE, 2))


def _changed(text, wave, uid="a", seed=0):
    return SoundChange.parse(text).apply(wave, RATE, uid, seed)


def _rms(wave):
    return np.sqrt(np.mean(np.square(wave, dtype=np.float64)))


def test_the_original_is_the_mean_of_the_channels(wave):
    np.testing.assert_allclose(_changed("original", wave), wave.mean(1), atol=1e-7)


def test_silence_is_zeros_of_the_same_length(wave):
    silent = _changed("silence", wave)
    assert silent.shape == (500,)
    assert not silent.any()


def test_noise_is_as_loud_as_the_clip_and_unlike_it(wave):
    noise = _changed("noise", wave)
    assert _rms(noise) == pytest.approx(_rms(wave.mean(1)), rel=1e-5)
    assert abs(np.corrcoef(noise, wave.mean(1))[0, 1]) < 0.2


def test_noise_follows_from_seed_and_uid_alone(wave):
    first = _changed("noise", wave)
    np.testing.assert_array_equal(first, _changed("noise", wave))
    assert not np.array_equal(first, _changed("noise", wave, uid="b"))
    assert not np.array_equal(first, _changed("noise", wave, seed=1))


@pytest.mark.parametrize("decibels", [-10, 0, 7.5])
def test_added_noise_has_the_asked_ratio(wave, decibels):
    mono = wave.mean(1)
    noise = _changed(f"snr:{decibels}", wave) - mono
    assert 20 * np.log10(_rms(mono) / _rms(noise)) == pytest.approx(decibels, abs=1e-3)


def test_a_silent_clip_stays_silent_under_noise():
    for text in ("noise", "snr:0"):
        assert not _changed(text, np.zeros(50)).any()


def test_shifted_sound_comes_later_and_is_filled_with_silence(wave):
    mono = wave.mean(1).astype(np.float32)
    later, earlier = _changed("shift:1.5", wave), _changed("shift:-2", wave)
    np.testing.assert_array_equal(later[:150], 0)
    np.testing.assert_array_equal(later[150:], mono[:350])
    np.testing.assert_array_equal(earlier[:300], mono[200:])
    np.testing.assert_array_equal(earlier[300:], 0)
    np.testing.assert_array_equal(_changed("shift:0", wave), mono)
    for text in ("shift:5", "shift:-60"):
        assert not _changed(text, wave).any()


@pytest.mark.parametrize(
    "text", ["loud", "", "shift", "shift:", "shift:abc", "shift:nan", "shift:inf", "snr:1e9", "silence:1", "snr:3:4"]
)
def test_a_change_that_does_not_exist_is_refused(text):
    with pytest.raises(AvsctlError, match="shift:S|takes"):
        SoundChange.parse(text)


def test_two_spellings_of_a_change_have_one_name():
    assert SoundChange.parse("shift:-0.50").name == "shift:-0.5"
    assert SoundChange.parse("snr:-0").name == SoundChange.parse("snr:0.0").name == "snr:0"
    assert SoundChange.parse("other-clip").name == "other-clip"


def test_another_clip_sounds_of_other_classes_where_one_exists():
    rng = np.random.default_rng(0)
    classes = [set(rng.choice(6, size=2, replace=False).tolist()) for _ in range(30)]
    uids = [f"clip{i}" for i in range(30)]
    donors = other_clips(uids, uids, classes, seed=1)
    by_uid = dict(zip(uids, classes, strict=True))
    assert list(donors) == uids
    for uid, donor in donors.items():
        assert uid != donor
        possible = any(not by_uid[uid] & by_uid[other] for other in uids if other != uid)
        assert not (by_uid[uid] & by_uid[donor]) or not possible


def test_without_other_classes_another_video_is_taken_and_fewest_classes_shared():
    donors = other_clips(["a", "b", "c"], ["v", "v", "w"], [{1}, {1}, {1}], seed=0)
    assert donors["a"] == donors["b"] == "c"
    donors = other_clips(["a", "b", "c"], ["u", "v", "w"], [{1, 2}, {1, 2}, {2, 3}], seed=0)
    assert donors["a"] == donors["b"] == "c"


def test_donors_follow_from_the_seed():
    uids = [f"{i}" for i in range(20)]
    choices = [other_clips(uids, uids, [{i} for i in range(20)], seed) for seed in (0, 0, 1)]
    assert choices[0] == choices[1] != choices[2]


def test_a_lone_clip_has_no_other():
    with pytest.raises(ValueError, match="two clips"):
        other_clips(["a"], ["a"], [{1}], 0)


def test_another_length_is_cut_or_starts_again():
    rows = np.arange(3)[:, None]
    assert fit_length(rows, 2)[:, 0].tolist() == [0, 1]
    assert fit_length(rows, 5)[:, 0].tolist() == [0, 1, 2, 0, 1]


def test_changed_audio_reads_like_a_cache(tmp_path):
    audio = ChangedAudio({"a": np.ones((5, 4), np.float32)}, "logmel", 4, tmp_path)
    assert audio.embedding("a").shape == (5, 4)
    with pytest.raises(AvsctlError, match="clip b"):
        audio.embedding("b")
