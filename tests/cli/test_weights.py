"""`avsctl weights` as one types it, against a server on this machine; no test reaches out."""

from __future__ import annotations

import functools
import hashlib
import json
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from click.shell_completion import ShellComplete
from safetensors.torch import load_file

from avsctl.cli import cli
from avsctl.errors import AvsctlError
from avsctl.stages.weights import fetch_weights, list_weights
from avsctl_models.weights import hub
from avsctl_models.weights.importing import SOURCES
from avsctl_models.weights.released import FOLDER_VARIABLE, released


@pytest.fixture
def avsctl(typed, monkeypatch, tmp_path):
    """Run avsctl with an empty folder of weights; gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "weights"))
    return typed


@pytest.fixture
def served_pca(tmp_path, monkeypatch):
    """VGGish's PCA, small and made up, where the list says it is: on a server of this machine."""
    served = tmp_path / "served"
    served.mkdir()
    file = served / "vggish_pca_params-970ea276.pth"
    torch.save({"pca_eigen_vectors": torch.eye(128), "pca_means": torch.zeros(128)}, file)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=served)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *words: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    url = f"http://127.0.0.1:{server.server_port}/{file.name}"
    monkeypatch.setitem(released(), "vggish-pca", replace(released()["vggish-pca"], url=url, sha256=digest))
    yield file
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_list_has_every_name_with_the_scores_that_go_with_it(avsctl):
    code, out, _ = avsctl("weights", "list")
    assert code == 0
    row = next(line for line in out.splitlines() if "stepping-stones-ms3" in line)
    assert "67.3 / 77.6" in row and "58.7 / 75.1" in row and "yes" not in row
    assert all(name in out for name in released())


def test_one_entry_shows_all_that_is_known(avsctl):
    code, out, _ = avsctl("weights", "list", "stepping-stones-ms3")
    assert code == 0
    assert "https://drive.google.com/" in out and "issues/6" in out and "note: " in out


def test_the_list_as_json_is_that_of_the_function(avsctl, tmp_path):
    code, out, _ = avsctl("weights", "list", "--json")
    assert code == 0
    assert json.loads(out) == json.loads(json.dumps(list_weights(tmp_path / "weights")))
    code, out, _ = avsctl("weights", "list", "vggish", "--json")
    assert json.loads(out)["name"] == "vggish" and json.loads(out)["path"] is None


def test_fetched_weights_go_by_their_name(avsctl, served_pca, tmp_path):
    code, _, err = avsctl("import-weights", "vggish-pca", "--out", "pca.safetensors")
    assert code == 2 and "Run 'avsctl weights fetch vggish-pca' first" in err
    code, out, err = avsctl("weights", "fetch", "vggish-pca")
    path = tmp_path / "weights" / "vggish-pca" / served_pca.name
    assert code == 0 and out.strip() == str(path), err
    assert path.read_bytes() == served_pca.read_bytes()
    assert "yes" in next(line for line in avsctl("weights", "list")[1].splitlines() if "vggish-pca" in line)
    code, _, err = avsctl("import-weights", "vggish-pca", "--out", "pca.safetensors")
    assert code == 0, err
    assert load_file("pca.safetensors")["pca_eigen_vectors"].shape == (128, 128)


def test_fetching_again_downloads_only_what_is_asked_for(avsctl, served_pca, tmp_path):
    _, out, _ = avsctl("weights", "fetch", "vggish-pca", "--to", "elsewhere")
    assert out.strip() == f"elsewhere/vggish-pca/{served_pca.name}"
    served_pca.write_bytes(b"another file")
    assert avsctl("weights", "fetch", "vggish-pca", "--to", "elsewhere")[0] == 0
    code, _, err = avsctl("weights", "fetch", "vggish-pca", "--to", "elsewhere", "--overwrite")
    assert code == 2 and "SHA-256" in err and len(err.strip().splitlines()) == 1
    assert (tmp_path / out.strip()).stat().st_size > 1000  # what was there stays


def test_what_needs_a_browser_says_where_to_get_it_and_where_to_put_it(avsctl, tmp_path):
    code, out, err = avsctl("weights", "fetch", "stepping-stones-s4")
    assert code == 2 and not out and len(err.strip().splitlines()) == 1
    home = tmp_path / "weights" / "stepping-stones-s4"
    assert f"open {released()['stepping-stones-s4'].page} and put the file into {home}" in err
    home.mkdir(parents=True)
    (home / "S4.pth").touch()
    assert avsctl("weights", "fetch", "stepping-stones-s4")[1].strip() == str(home / "S4.pth")


def test_the_hub_out_of_reach_is_one_clear_line(avsctl, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(hub, "_hub_answers", lambda: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    code, _, err = avsctl("weights", "fetch", "mask2former-swin-b-ade")
    assert code == 2 and len(err.strip().splitlines()) == 1
    assert "hub cannot be reached" in err and str(tmp_path / "weights" / "mask2former-swin-b-ade") in err
    assert not (tmp_path / "weights").exists()


def test_a_repository_is_fetched_into_a_folder_of_its_name(tmp_path, monkeypatch):
    import huggingface_hub

    def snapshot_download(repository, *, allow_patterns, local_files_only, local_dir):
        local_dir.mkdir(parents=True)
        for name in ("config.json", "model.safetensors"):
            (local_dir / name).write_text(repository)
        return str(local_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(hub, "_hub_answers", lambda: True)
    path = fetch_weights("mask2former-swin-b-ade", tmp_path)
    assert path == tmp_path / "mask2former-swin-b-ade"
    assert (path / "config.json").read_text() == "facebook/mask2former-swin-base-ade-semantic"
    monkeypatch.setattr(hub, "_hub_answers", lambda: False)
    assert fetch_weights("mask2former-swin-b-ade", tmp_path) == path


def test_an_unknown_name_is_refused(avsctl, tmp_path):
    code, _, err = avsctl("weights", "fetch", "vggis")
    assert code == 2 and "'vggish'" in err
    with pytest.raises(AvsctlError, match="there are: .*vggish"):
        fetch_weights("vggis", tmp_path)


def test_every_entry_is_read_by_a_source_of_import_weights():
    assert {entry.read_by for entry in released().values()} <= set(SOURCES)


@pytest.mark.parametrize("words", [["weights", "fetch"], ["train-avs", "--init-from"], ["import-weights"]])
def test_names_are_completed_in_the_shell(words):
    complete = ShellComplete(cli, {}, "avsctl", "_AVSCTL_COMPLETE")
    assert {"vggish", "vggish-pca"} <= {item.value for item in complete.get_completions(words, "vgg")}
