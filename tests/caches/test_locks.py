"""Two processes never write the same thing, and a dead one never stands in the way."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest

from avsctl.caches.locks import sole_writer
from avsctl.errors import AvsctlError

HOLDER = """
import os, sys
from pathlib import Path
from avsctl.caches.locks import sole_writer
sys.argv = ["avsctl", "prepare", "avsbench", "--root", "a b"]
with sole_writer(Path(os.environ["TARGET"])):
    Path(os.environ["TARGET"] + f".{os.getpid()}.part").touch()
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def target(tmp_path):
    return tmp_path / "clips.h5"


@pytest.fixture
def holder(target):
    """Another process that holds the target's lock."""
    command = [sys.executable, "-c", HOLDER]
    environment = {**os.environ, "TARGET": str(target), "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def _names(target):
    return sorted(path.name for path in target.parent.iterdir())


def test_the_second_is_refused_with_the_name_of_the_first(target, holder):
    named = f"clips.h5 is being written by process {holder.pid} on {socket.gethostname()} "
    command = "('avsctl prepare avsbench --root 'a b''"
    with pytest.raises(AvsctlError, match=re.escape(named + command)), sole_writer(target):
        pytest.fail("two writers")
    holder.stdin.close()
    holder.wait()
    with sole_writer(target):
        pass


def test_what_a_killed_holder_leaves_is_no_obstacle_and_is_removed(target, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    (target.parent / "clips.h5.old.csv").touch()
    assert len(_names(target)) == 3
    with sole_writer(target):
        assert _names(target) == [".clips.h5.lock", "clips.h5.old.csv"]
    assert _names(target) == ["clips.h5.old.csv"]


def test_leavings_of_files_written_with_it_are_removed_too(target):
    for name in ("clips.skipped.json.12.part", "other.json.12.part"):
        target.with_name(name).touch()
    with sole_writer(target, also=[target.with_name("clips.skipped.json")]):
        assert _names(target) == [".clips.h5.lock", "other.json.12.part"]


def test_within_one_process_it_is_the_same(target):
    with sole_writer(target):
        with pytest.raises(AvsctlError, match=f"by process {os.getpid()}"), sole_writer(target):
            pytest.fail("two writers")
        assert target.with_name(".clips.h5.lock").exists()


def test_who_waits_comes_next(target, holder):
    threading.Timer(0.2, holder.stdin.close).start()
    with sole_writer(target, wait=True):
        assert holder.wait() == 0


def test_different_targets_do_not_meet(target, holder):
    with sole_writer(target.with_name("audio.h5")), sole_writer(target.with_name("runs")):
        pass


@pytest.mark.parametrize("host, pid, free", [(None, None, True), ("another-host", 1, False), (None, 1, False)])
def test_without_locks_in_the_file_system_the_holder_is_looked_for(target, monkeypatch, host, pid, free):
    def no_locks(*given):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", no_locks)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    content = {"pid": pid or dead.pid, "host": host or socket.gethostname(), "command": "avsctl", "since": "12:00:00"}
    lock = target.with_name(".clips.h5.lock")
    lock.write_text(json.dumps(content))
    if free:
        with sole_writer(target):
            pass
        return
    with pytest.raises(AvsctlError, match=re.escape(f"delete {lock}")), sole_writer(target):
        pytest.fail("two writers")
