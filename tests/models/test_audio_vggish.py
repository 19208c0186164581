from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hash_fill import uniform
from safetensors.numpy import load_file
from safetensors.torch import save_file

from avsctl_models.audio import vggish
from avsctl_models.audio.encoders import encoder
from avsctl_models.audio.frontend import examples, log_mel

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "vggish"
GAIN = 1.41421356


def hash_fill(name: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    """Weights made from their name: what the golden outputs were computed with."""
    numbers = uniform(name, int(np.prod(shape))) - 0.5
    numbers *= 0.2 if len(shape) == 1 else 2.0 * np.sqrt(3.0 / np.prod(shape[1:])) * gain
    return numbers.astype(np.float32).reshape(shape)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return load_file(GOLDEN / "network_hashfill.safetensors")


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in vggish.Vggish().state_dict().items()}
    return {key: torch.from_numpy(hash_fill(key, shape, GAIN)) for key, shape in shapes.items()}


@pytest.fixture(scope="module")
def weights_file(weights, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("vggish") / "vggish.pth"
    torch.save(weights, path)
    yield path
    path.unlink()  # 290 MB


@pytest.fixture(scope="module")
def network(weights_file) -> vggish.Vggish:
    return vggish.load_vggish(weights_file)


def test_keys_and_size_are_torchvggishs(weights):
    convolutions = [f"features.{i}" for i in (0, 3, 6, 8, 11, 13)]
    linear = [f"embeddings.{i}" for i in (0, 2, 4)]
    layers = convolutions + linear
    assert set(weights) == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    assert sum(value.numel() for value in weights.values()) == 72_141_184


def test_network_gives_the_original_outputs(network, golden):
    made = network.embed(golden["x"][:, 0])
    scale = np.abs(golden["pre_relu"]).max()
    # Measured: equal to the bit; the room is for other BLAS libraries, over 12,288-term sums.
    assert np.abs(made - golden["pre_relu"]).max() < 1e-5 * scale
    assert np.abs(vggish.relu(made) - golden["embedding"]).max() < 1e-5 * scale
    assert (made < 0).any()


def test_pca_post_processing_gives_the_original_outputs(golden, tmp_path):
    path = tmp_path / "pca.safetensors"
    parameters = {
        "pca_eigen_vectors": torch.from_numpy(hash_fill("pca_eigen_vectors", (128, 128), 1.0)),
        "pca_means": torch.from_numpy(hash_fill("pca_means", (128, 1), 1.0)),
    }
    save_file(parameters, path)
    vectors, means = vggish.load_pca(path)
    for given, expected in (("embedding", "pca_quantised"), ("pca_in_scaled", "pca_quantised_scaled")):
        made = vggish.pca_quantised(golden[given], vectors, means)
        assert np.array_equal(made, golden[expected])


def test_batches_do_not_change_the_result(network, golden, monkeypatch):
    whole = network.embed(golden["x"][:, 0])
    monkeypatch.setattr(vggish, "BATCH", 2)
    assert np.allclose(network.embed(golden["x"][:, 0]), whole, rtol=1e-5, atol=1e-4)


def test_encoder_takes_examples_one_after_the_other(weights_file, network):
    wave = np.random.default_rng(0).uniform(-0.3, 0.3, 2 * 44100)
    vggish_encoder = encoder("vggish", weights_file)
    expected = network.embed(examples(log_mel(wave, 44100)))
    assert expected.shape == (2, 128)
    assert np.allclose(vggish_encoder.encode(wave, 44100, 2), expected, rtol=1e-5, atol=1e-4)
    four = vggish_encoder.encode(wave, 44100, 4)
    assert np.array_equal(four[2], four[1]) and np.array_equal(four[3], four[1])
    short = vggish_encoder.encode(wave[:4410], 44100, 1)
    assert short.shape == (1, 128) and np.isfinite(short).all()
    from_examples = vggish_encoder.encode_examples(examples(log_mel(wave, 44100))[:, None], 3)
    assert np.allclose(from_examples[[0, 1, 1]], four[[0, 1, 2]], rtol=1e-5, atol=1e-4)
    assert np.array_equal(from_examples[2], from_examples[1])


def test_weights_that_do_not_fit_are_refused(tmp_path):
    small = {"features.0.weight": torch.zeros(64, 1, 3, 3), "features.0.bias": torch.zeros(63)}
    save_file({**small, "extra": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="18 tensors, first features.3.weight is missing"):
        vggish.load_vggish(tmp_path / "a.safetensors")
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in vggish.Vggish().state_dict().items()}
    wrong = {key: torch.zeros(1).expand(shape) for key, shape in shapes.items()}
    wrong["features.0.bias"] = torch.zeros(63)
    torch.save(wrong, tmp_path / "b.pth")
    with pytest.raises(ValueError, match=r"features.0.bias is \(63,\) instead of \(64,\)"):
        vggish.load_vggish(tmp_path / "b.pth")
    save_file({"pca_means": torch.zeros(128)}, tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match="pca_eigen_vectors"):
        vggish.load_pca(tmp_path / "c.safetensors")


class Trap:
    """Unpickling this would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_broken_and_dangerous_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no file"):
        vggish.load_vggish(tmp_path / "none.pth")
    for name in ("empty.pth", "empty.safetensors", "noise.pth", "noise.safetensors"):
        (tmp_path / name).write_bytes(b"" if name.startswith("empty") else b"\x80\x02 not weights" * 40)
        with pytest.raises(ValueError, match=name):
            vggish.load_vggish(tmp_path / name)
    torch.save({"features.0.weight": torch.zeros(64, 1, 3, 3)}, tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:-200])
    with pytest.raises(ValueError, match="cut.pth"):
        vggish.load_vggish(tmp_path / "cut.pth")
    torch.save({"features.0.weight": Trap(tmp_path / "sprung")}, tmp_path / "trap.pth")
    with pytest.raises(ValueError, match="trap.pth"):
        vggish.load_vggish(tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="no named tensors"):
        vggish.load_vggish(tmp_path / "list.pth")
