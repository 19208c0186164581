"""Weights on the Hugging Face hub: found in its cache, or refused without waiting."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from avsctl_models.weights import hub

UNREACHABLE = "http://127.0.0.1:9"  # nothing listens there


def test_references_are_told_from_paths():
    assert hub.is_hub_reference("hf://owner/name")
    assert hub.is_hub_reference(Path("hf://owner/name"))
    assert not hub.is_hub_reference("hf/model.pth")


@pytest.mark.parametrize("reference", ["hf://owner", "hf://a/b/c", "hf://", "hf://a b/c"])
def test_malformed_references_are_refused(reference):
    with pytest.raises(ValueError, match="write hf://owner/name"):
        hub.download(reference)


def _without_network(tmp_path, reference):
    code = f"from avsctl_models.weights.hub import download; print(download({reference!r}))"
    environment = {**os.environ, "HF_ENDPOINT": UNREACHABLE, "HF_HOME": str(tmp_path)}
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    return done, time.monotonic() - start


def test_without_a_network_the_answer_is_quick_and_clear(tmp_path):
    done, seconds = _without_network(tmp_path, "hf://owner/name")
    assert "hf://owner/name is not in the local cache and the Hugging Face hub cannot be reached" in done.stderr
    assert "Retrying" not in done.stderr
    assert seconds < 20  # the hub's own retries take 23 s after start-up


def test_what_the_cache_holds_needs_no_network(tmp_path):
    snapshot = tmp_path / "hub" / "models--owner--name" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (tmp_path / "hub" / "models--owner--name" / "refs").mkdir()
    (tmp_path / "hub" / "models--owner--name" / "refs" / "main").write_text("0123")
    save_file({"a": torch.zeros(1)}, snapshot / "model.safetensors")
    done, _ = _without_network(tmp_path, "hf://owner/name")
    assert done.stdout.strip() == str(snapshot), done.stderr


@pytest.mark.parametrize(
    ("held", "asked"), [("model.safetensors", 1), ("pytorch_model.bin", 2), ("pytorch_model-00001-of-2.bin", 2)]
)
def test_safetensors_are_fetched_before_pickles(tmp_path, monkeypatch, held, asked):
    from fnmatch import fnmatch

    import huggingface_hub

    calls = []

    def snapshot_download(repository, *, allow_patterns, local_files_only):
        calls.append(repository)
        if any(fnmatch(held, pattern) for pattern in allow_patterns):
            (tmp_path / held).touch()
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(hub, "_hub_answers", lambda: True)
    assert hub.download("hf://owner/name.v1") == tmp_path
    assert calls == ["owner/name.v1"] * asked


def test_a_repository_without_weights_is_refused(tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *words, **options: str(tmp_path))
    monkeypatch.setattr(hub, "_hub_answers", lambda: True)
    with pytest.raises(ValueError, match="neither model.safetensors nor pytorch_model.bin"):
        hub.download("hf://owner/name")
