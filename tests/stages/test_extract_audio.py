from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from avsctl.caches.audio import AudioCache
from avsctl.caches.clips import ClipCache, ClipRecord, assemble_clips
from avsctl.errors import AvsctlError
from avsctl.stages.extract_audio import extract_audio, read_wave
from avsctl_models.audio.encoders import encoder


def _wav(seconds: float, rate: int = 16000) -> bytes:
    data = io.BytesIO()
    wave = np.sin(np.arange(int(seconds * rate)) * 0.1).astype(np.float32) * 0.5
    soundfile.write(data, wave, rate, format="WAV")
    return data.getvalue()


def _clips(path, *records):
    items = [record.arrays() for record in records]
    settings = {"classes": ["background", "cat"], "palette": np.zeros((2, 3), np.uint8), "label_kind": "semantic"}
    return assemble_clips(path, lambda: items, options={}, **settings)


def _record(uid: str, audio: bytes, log_mel=None, frames: int = 5) -> ClipRecord:
    return ClipRecord(uid, uid, "s4", "train", [b"f"] * frames, [b""] * frames, audio, log_mel)


def test_every_frame_gets_its_embedding(tiny_workspace):
    clips, audio = ClipCache(tiny_workspace / "clips.h5"), AudioCache(tiny_workspace / "audio.h5")
    for clip in (0, len(clips) - 1):
        expected = encoder("logmel").encode(*read_wave(clips.audio_bytes(clip), ""), clips.frame_count(clip))
        assert np.array_equal(audio.embedding(clips.uids[clip]), expected)


def test_more_workers_write_the_same_bytes(tiny_workspace, tmp_path):
    for workers in (1, 2):
        extract_audio(tiny_workspace / "clips.h5", tmp_path / f"{workers}.h5", workers=workers)
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()


def test_a_rerun_keeps_what_is_there_and_refuses_other_clips(tiny_workspace, tmp_path):
    out = extract_audio(tiny_workspace / "clips.h5", tmp_path / "audio.h5", workers=1)
    before = out.stat().st_mtime_ns
    extract_audio(tiny_workspace / "clips.h5", out, workers=1)
    assert out.stat().st_mtime_ns == before
    other = _clips(tmp_path / "clips.h5", _record("a", _wav(5)))
    with pytest.raises(AvsctlError, match="made with another clips. Add --overwrite"):
        extract_audio(other, out, workers=1)


def test_stored_log_mel_serves_where_there_is_no_wav(tmp_path):
    log_mel = np.random.default_rng(0).normal(-2, 1, (5, 96, 64)).astype(np.float32)
    clips = _clips(tmp_path / "clips.h5", _record("a", b"", log_mel), _record("b", _wav(5)))
    cache = AudioCache(extract_audio(clips, tmp_path / "audio.h5", workers=1))
    assert np.array_equal(cache.embedding("a"), encoder("logmel").encode_examples(log_mel, 5))


@pytest.mark.parametrize(
    "audio, says", [(b"", "clip a"), (b"RIFFjunk", "is no readable wav file"), (_wav(0), "has no samples")]
)
def test_sound_that_cannot_be_used_is_named_and_nothing_is_written(tmp_path, audio, says):
    clips = _clips(tmp_path / "clips.h5", _record("a", audio))
    with pytest.raises(AvsctlError, match=says):
        extract_audio(clips, tmp_path / "audio.h5", workers=1)
    assert not (tmp_path / "audio.h5").exists()


@pytest.mark.parametrize(
    "name, weights, says",
    [("vggish", None, "needs its weights"), ("yamnet", "none.pth", "is no file"), ("logmel", "a", "has no weights")],
)
def test_encoder_and_weights_must_go_together(tiny_workspace, tmp_path, name, weights, says):
    from pathlib import Path

    with pytest.raises(AvsctlError, match=says):
        extract_audio(
            tiny_workspace / "clips.h5", tmp_path / "a.h5", encoder_name=name, weights=weights and Path(weights)
        )


def test_vggish_pca_is_applied_to_what_the_relu_leaves(tmp_path, monkeypatch):
    import torch
    from safetensors.torch import save_file

    from avsctl.stages import extract_audio as stage
    from avsctl_models.audio.vggish import pca_quantised

    signed = np.random.default_rng(0).normal(0, 1, (5, 128)).astype(np.float32)

    class Stub:
        name, dim = "vggish", 128

        def encode(self, wave, rate, frames):
            return signed

    vectors, means = torch.randn(128, 128, generator=torch.Generator().manual_seed(0)) / 8, torch.full((128, 1), 0.2)
    save_file({"pca_eigen_vectors": vectors, "pca_means": means}, tmp_path / "pca.safetensors")
    (tmp_path / "weights.pth").write_bytes(b"")
    monkeypatch.setattr(stage, "encoder", lambda name, weights: Stub())
    stage._tools.cache_clear()
    out = extract_audio(
        _clips(tmp_path / "clips.h5", _record("a", _wav(5))),
        tmp_path / "audio.h5",
        encoder_name="vggish",
        weights=tmp_path / "weights.pth",
        pca=tmp_path / "pca.safetensors",
        workers=1,
    )
    stage._tools.cache_clear()
    cache = AudioCache(out)
    expected = pca_quantised(np.maximum(signed, 0), vectors.numpy(), means.numpy())
    assert cache.encoder == "vggish-pca" and np.array_equal(cache.embedding("a"), expected)


def test_pca_belongs_to_vggish(tiny_workspace, tmp_path):
    with pytest.raises(AvsctlError, match="VGGish's post-processing"):
        extract_audio(tiny_workspace / "clips.h5", tmp_path / "a.h5", pca=tmp_path / "pca.pth", workers=1)
    assert not (tmp_path / "a.h5").exists()
