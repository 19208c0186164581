from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from avsctl_models.audio import frontend, logmel
from avsctl_models.audio.encoders import ENCODERS, encoder


def noise(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, int(seconds * rate))


def test_unknown_names_and_missing_weights_are_refused(tmp_path):
    with pytest.raises(ValueError, match="choose from vggish, logmel, yamnet"):
        encoder("wav2vec")
    for name in ("vggish", "yamnet"):
        with pytest.raises(ValueError, match="needs a weights file"):
            encoder(name)
    with pytest.raises(ValueError, match="no weights"):
        encoder("logmel", tmp_path / "x.pth")
    assert set(ENCODERS) == {"vggish", "logmel", "yamnet"}


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_rate_and_channels_give_one_embedding_per_frame(rate, channels):
    wave = np.repeat(noise(5, rate)[:, None], channels, axis=1)
    made = encoder("logmel").encode(wave, rate, 5)
    assert made.shape == (5, 128) and made.dtype == np.float32
    assert len(np.unique(made.round(6), axis=0)) == 5
    assert np.allclose(made, encoder("logmel").encode(wave[:, 0], rate, 5), atol=1e-6)


def test_embeddings_describe_their_own_second():
    wave = np.zeros(80000)
    wave[32000:48000] = noise(1, 16000)
    made = encoder("logmel").encode(wave, 16000, 5)
    silence = encoder("logmel").encode(np.zeros(16000), 16000, 1)[0]
    for second in (0, 1, 3, 4):
        assert np.allclose(made[second], silence, atol=1e-6)
    assert (made[2, :64] > silence[:64] + 0.3).all()


def test_short_sound_repeats_its_last_embedding():
    wave = noise(3.2, 16000)
    made = encoder("logmel").encode(wave, 16000, 5)
    assert np.array_equal(made[3], made[2]) and np.array_equal(made[4], made[2])
    assert not np.array_equal(made[2], made[1])


def test_a_last_second_that_is_mostly_there_has_its_own_embedding():
    made = encoder("logmel").encode(noise(4.8, 16000), 16000, 5)
    assert not np.array_equal(made[4], made[3])


def test_less_than_a_second_is_filled_up_with_silence():
    wave = noise(0.3, 16000)
    made = encoder("logmel").encode(wave, 16000, 3)
    filled = encoder("logmel").encode(np.pad(wave, (0, 16000 - len(wave))), 16000, 3)
    assert np.array_equal(made, filled)
    assert encoder("logmel").encode(np.array([0.5]), 44100, 2).shape == (2, 128)


def test_sound_after_the_last_frame_is_left_out():
    wave = noise(8, 16000)
    long = encoder("logmel").encode(wave, 16000, 5)
    assert np.allclose(long, encoder("logmel").encode(wave[:80000], 16000, 5), atol=1e-6)


def test_silence_embeds_as_minus_one_and_no_movement():
    made = encoder("logmel").encode(np.zeros(80000, np.int16), 16000, 5)
    assert np.allclose(made[:, :64], -1.0, atol=1e-6)
    assert np.allclose(made[:, 64:], 0.0, atol=1e-6)


def test_levels_spread_and_correlation_are_what_the_docstring_says():
    spectrogram = np.random.default_rng(3).standard_normal((98, 64))
    made = logmel.summarise(spectrogram)
    groups = spectrogram.reshape(98, 16, 4).mean(axis=2)
    assert np.allclose(made[:64], spectrogram.mean(axis=0) / np.log(100), atol=1e-6)
    assert np.allclose(made[64:80], groups.std(axis=0) / 2, atol=1e-6)
    for part, lag in enumerate((2, 5, 12)):
        for group in range(16):
            moving = groups[:, group] - groups[:, group].mean()
            product = np.mean([moving[i] * moving[i + lag] for i in range(98 - lag)])
            assert made[80 + 16 * part + group] == pytest.approx(product / (moving.var() + 0.05), abs=1e-6)


@pytest.mark.parametrize("wave", [noise(1, 16000) * 3.3, np.sign(noise(1, 16000)), np.ones(16000)])
def test_loud_sounds_stay_near_the_unit_range(wave):
    made = encoder("logmel").encode(np.clip(wave, -1, 1), 16000, 1)
    assert np.abs(made).max() < 1.5


def test_log_mel_examples_alone_are_enough():
    wave = noise(5, 16000)
    examples = frontend.examples(frontend.log_mel(wave, 16000))
    logmel_encoder = encoder("logmel")
    made = logmel_encoder.encode_examples(examples[:, None], 5)
    assert made.shape == (5, 128)
    assert np.allclose(made[0], logmel.summarise(examples[0]), atol=1e-6)
    assert np.array_equal(logmel_encoder.encode_examples(examples, 5), made)
    assert np.array_equal(logmel_encoder.encode_examples(examples[:2], 3)[2], made[1])
    assert np.array_equal(logmel_encoder.encode_examples(examples, 2), made[:2])


def test_bad_calls_are_refused():
    wave = noise(1, 16000)
    logmel_encoder = encoder("logmel")
    with pytest.raises(ValueError, match="0 frames"):
        logmel_encoder.encode(wave, 16000, 0)
    with pytest.raises(ValueError, match="NaN"):
        logmel_encoder.encode(np.full(16000, np.nan), 16000, 5)
    with pytest.raises(ValueError, match="not empty"):
        logmel_encoder.encode(wave[:0], 16000, 5)
    for shape in ((0, 96, 64), (5, 95, 64), (96, 64), (5, 2, 96, 64)):
        with pytest.raises(ValueError, match="examples of shape"):
            logmel_encoder.encode_examples(np.zeros(shape), 5)
    with pytest.raises(ValueError, match="NaN"):
        logmel_encoder.encode_examples(np.full((5, 96, 64), np.nan), 5)
    with pytest.raises(ValueError, match="expected 13 frames"):
        logmel.summarise(np.zeros((12, 64)))


def test_the_logmel_encoder_does_not_load_torch():
    code = (
        "import sys, numpy as np\n"
        "from avsctl_models.audio.encoders import encoder\n"
        "encoder('logmel').encode(np.zeros(44100), 44100, 5)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_clip_is_encoded_in_a_blink():
    wave = np.random.default_rng(0).integers(-9000, 9000, (441000, 2)).astype(np.int16)
    logmel_encoder = encoder("logmel")
    logmel_encoder.encode(wave, 44100, 10)  # builds the tables
    start = time.perf_counter()
    logmel_encoder.encode(wave, 44100, 10)
    assert time.perf_counter() - start < 2.0  # 0.02 s on an idle core; the room is for a busy one
