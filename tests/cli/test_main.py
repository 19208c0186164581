from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from avsctl.cli import COMMANDS, cli
from avsctl.cli._console import run_guarded


def _run(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    """The command as a user types it: exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["avsctl", *arguments])
    code = run_guarded(cli)
    return code, *capsys.readouterr()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage: cli " + name in result.output and len(result.output.splitlines()) > 5


def test_help_does_not_load_torch():
    call = "cli(['--help'], standalone_mode=False)"
    code = f"import sys; from avsctl.cli import cli; {call}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["no-such"], "No such command"),
        (["train-avs", "--epochs", "0"], "--epochs"),
        (["train-avs", "--lr", "-1"], "--lr"),
        (["train-avs"], "Run 'avsctl prepare avsbench' first"),
        (["extract-audio"], "Run 'avsctl prepare avsbench' first"),
        (["train-avs", "--config", "none.toml"], "No config file at none.toml"),
        (["train-avs", "--resume", "--overwrite"], "give one of them"),
        (["train-avs", "--device", "cuda:99"], "can't be used here"),
    ],
)
def test_wrong_use_is_one_clear_line_and_exit_code_2(monkeypatch, capsys, tmp_path, arguments, says):
    monkeypatch.chdir(tmp_path)
    code, out, err = _run(monkeypatch, capsys, *arguments)
    assert code == 2 and says in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name, text, says",
    [
        ("a.toml", "epochs = ", "not readable TOML"),
        ("a.json", "[1]", "must hold a table"),
        ("a.json", '{"epoch": 1}', "does not know: epoch"),
        ("a.json", '{"command": "train-avss"}', "options of 'avsctl train-avss', not of 'avsctl train-avs'"),
    ],
)
def test_a_config_file_that_does_not_fit_is_refused(monkeypatch, capsys, tmp_path, name, text, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(text)
    code, _, err = _run(monkeypatch, capsys, "train-avs", "--config", name)
    assert code == 2 and says in err


def test_a_run_is_repeated_from_its_recorded_config(monkeypatch, capsys, tiny_workspace, workspace_copy):
    root = workspace_copy(tiny_workspace)
    (root / "first.toml").write_text('epochs = 1\nmax-steps = 1\nimage-size = 64\nsubset = "s4"\npreset = "tiny"\n')
    code, out, err = _run(monkeypatch, capsys, "train-avs", "-w", str(root), "--config", str(root / "first.toml"))
    assert code == 0, err
    folder = root / "runs/avs/aavs-tiny-s4-none-s3407"
    first = (folder / "model.safetensors").read_bytes()
    options = json.loads((folder / "config.json").read_text())
    assert options["max_steps"] == 1 and options["subset"] == "s4"
    again = ["train-avs", "-w", str(root), "--config", str(folder / "config.json"), "--overwrite"]
    code, out, err = _run(monkeypatch, capsys, *again)
    assert code == 0, err
    assert (folder / "model.safetensors").read_bytes() == first
    assert str(folder) in out.replace("\n", "")


def test_the_line_of_the_design_card_trains_on_the_oracle(monkeypatch, capsys, tiny_workspace, workspace_copy):
    root = workspace_copy(tiny_workspace)
    (root / "c.json").write_text('{"epochs": 1, "max_steps": 1, "image_size": 64}')
    monkeypatch.chdir(root)
    code, out, err = _run(monkeypatch, capsys, "train-avss", "--prior", "oracle", "--config", "c.json")
    assert code == 0, err
    assert (root / "runs/avss/aavs-tiny-all-oracle-s3407/model.safetensors").exists()
