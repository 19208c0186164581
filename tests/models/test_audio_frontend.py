from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.signal.windows import kaiser

from avsctl_models.audio import frontend
from avsctl_models.audio.resampling import resample

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "vggish"
LENGTHS = {
    15599: 0, 15600: 1, 16000: 1, 20000: 1, 30959: 1, 30960: 2, 77039: 4, 77040: 5, 78400: 5, 80000: 5,
    92399: 5, 92400: 6, 153839: 9, 153840: 10, 160000: 10, 169199: 10, 169200: 11,
}  # fmt: skip


@pytest.fixture(scope="module")
def golden_16k() -> dict[str, np.ndarray]:
    return load_file(GOLDEN / "frontend_16k.safetensors")


@pytest.fixture(scope="module")
def golden_44k1() -> dict[str, np.ndarray]:
    return load_file(GOLDEN / "frontend_44k1.safetensors")


def test_window_and_mel_matrix_are_vggishs(golden_16k):
    assert np.abs(frontend.hann_window() - golden_16k["window_400_f64"]).max() < 1e-15
    assert np.abs(frontend.mel_matrix() - golden_16k["mel_matrix_257x64_f64"]).max() < 1e-15


def test_float64_log_mel_is_vggishs(golden_16k):
    spectrogram = frontend.log_mel(golden_16k["sine.wav_i16"], 16000)
    assert spectrogram.shape == (498, 64)
    assert np.abs(spectrogram[:4] - golden_16k["sine.log_mel_498x64_first4_f64"]).max() < 1e-12


@pytest.mark.parametrize("wave", ["sine", "chirp"])
def test_examples_at_16k_are_vggishs(golden_16k, wave):
    made = frontend.examples(frontend.log_mel(golden_16k[f"{wave}.wav_i16"], 16000))
    assert made.dtype == np.float32
    # Measured: equal to the bit. The room is for another FFT's last digits.
    assert np.abs(made - golden_16k[f"{wave}.logmel"][:, 0]).max() < 1e-5


@pytest.mark.parametrize("wave", ["sine", "chirp_stereo"])
def test_examples_at_44k1_are_vggishs_after_resampy(golden_44k1, wave):
    sound = golden_44k1[f"{wave}.wav_i16"]
    resampled = frontend.mono_16k(sound, 44100)
    expected = golden_44k1[f"{wave}.resampled_16k_first4000_f32"]
    assert resampled.shape == (80000,)
    assert np.abs(resampled[:4000] - expected).max() < 1e-7  # measured 0.0; float32 resolves 3e-8 here
    made = frontend.examples(frontend.log_mel(sound, 44100))
    assert np.abs(made - golden_44k1[f"{wave}.logmel"][:, 0]).max() < 1e-5  # measured 4.8e-7


@pytest.mark.parametrize(("samples", "count"), LENGTHS.items())
def test_number_of_examples_by_length(samples, count):
    assert frontend.examples(frontend.log_mel(np.zeros(samples), 16000)).shape == (count, 96, 64)


def slow_resample(wave: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """The windowed sinc, one output and one tap at a time."""
    size = 50 * 8192
    table = 0.9173473712608761 * np.sinc(0.9173473712608761 * np.arange(size + 1) / 8192)
    table *= kaiser(2 * size + 1, 12.984585247040012)[size:]
    ratio = new_rate / rate
    scale = min(1.0, ratio)
    step = int(scale * 8192)
    output = np.zeros(len(wave) * new_rate // rate)
    for j in range(len(output)):
        time = j * (1.0 / ratio)
        whole = int(time)
        left = scale * (time - whole)
        for fraction, first, direction in ((left, whole, -1), (scale - left, whole + 1, 1)):
            offset = int(fraction * 8192)
            rest = fraction * 8192 - offset
            for i in range((size + 1 - offset) // step):
                source, entry = first + direction * i, offset + i * step
                if not 0 <= source < len(wave):
                    break
                following = table[min(entry + 1, size)]
                output[j] += wave[source] * scale * (table[entry] + rest * (following - table[entry]))
    return output


@pytest.mark.parametrize("rate", [1000, 8000, 11025, 22050, 24928, 44100, 44099, 48000, 96000, 768000])
def test_resampler_equals_the_direct_formula(rate):
    # At 24928 Hz, output 500 sits on a whole sample, but its time in floating point falls just below it.
    wave = np.random.default_rng(rate).standard_normal(900 if rate > 8000 else 100)
    made = resample(wave, rate, 16000)
    expected = slow_resample(wave, rate, 16000)
    assert made.shape == expected.shape
    assert np.abs(made - expected).max() < 1e-9  # times near a whole sample round differently at 1e-12


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_a_tone_keeps_its_level_and_pitch_at_any_rate(rate):
    times = np.arange(2 * rate) / rate
    tone = frontend.mono_16k(0.5 * np.sin(2 * np.pi * 1000 * times), rate)[8000:24000]
    reference = 0.5 * np.sin(2 * np.pi * 1000 * (np.arange(16000) + 8000) / 16000)
    assert np.abs(tone - reference).max() < 1e-3


def test_channels_are_averaged():
    channels = np.random.default_rng(0).uniform(-0.5, 0.5, (16000, 6))
    assert np.allclose(frontend.log_mel(channels, 16000), frontend.log_mel(channels.mean(axis=1), 16000))
    mono = channels[:, :1]
    assert np.array_equal(frontend.log_mel(mono, 16000), frontend.log_mel(mono[:, 0], 16000))


def test_integers_and_floats_say_the_same():
    wave = np.random.default_rng(1).integers(-30000, 30000, 16000).astype(np.int16)
    assert np.array_equal(frontend.log_mel(wave, 16000), frontend.log_mel(wave / 32768.0, 16000))
    assert np.array_equal(frontend.log_mel(wave, 16000), frontend.log_mel(wave.astype(np.int32) << 16, 16000))


def test_silence_is_the_logarithm_of_the_offset():
    assert np.allclose(frontend.log_mel(np.zeros(16000), 16000), np.log(0.01), atol=1e-12)
    silence = frontend.log_mel(np.zeros(16000), 16000, frontend.YAMNET_OFFSET)
    assert np.allclose(silence, np.log(0.001), atol=1e-12)


def test_overlapping_examples_share_their_frames():
    spectrogram = np.random.default_rng(2).standard_normal((250, 64))
    cut = frontend.examples(spectrogram, hop=48)
    assert cut.shape == (4, 96, 64)
    for i, example in enumerate(cut):
        assert np.array_equal(example, spectrogram[48 * i : 48 * i + 96].astype(np.float32))


@pytest.mark.parametrize(
    ("wave", "rate", "reason"),
    [
        (np.array([0.0, np.nan]), 16000, "NaN"),
        (np.array([0.0, np.inf]), 16000, "infinite"),
        (np.zeros(0), 16000, "not empty"),
        (np.zeros((0, 2)), 16000, "not empty"),
        (np.zeros((16000, 0)), 16000, "not empty"),
        (np.zeros((2, 2, 2)), 16000, "shape"),
        (np.zeros((2, 16000)), 16000, "transposed"),
        (np.zeros(16000, np.uint8), 16000, "uint8"),
        (np.zeros(16000), 0, "sample rate"),
        (np.zeros(16000), 1, "sample rate"),
        (np.zeros(16000), 10**9, "sample rate"),
        (np.zeros(16000), -8000, "sample rate"),
        (np.zeros(16000), 16000.5, "sample rate"),
        (np.zeros(16000), float("nan"), "sample rate"),
    ],
)
def test_bad_waves_are_refused(wave, rate, reason):
    with pytest.raises(ValueError, match=reason):
        frontend.log_mel(wave, rate)


def test_bad_spectrograms_are_refused():
    with pytest.raises(ValueError, match="frames, 64"):
        frontend.examples(np.zeros((96, 63)))
    with pytest.raises(ValueError, match="hop"):
        frontend.examples(np.zeros((96, 64)), hop=0)
