from __future__ import annotations

import hashlib
import json

import pytest

from avsctl.caches.files import hash_of, hash_of_file, read_json, sha256_of_file, whole_file, write_json
from avsctl.errors import AvsctlError


def test_a_failed_write_leaves_the_old_file_and_no_part(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), whole_file(path) as part:
        part.write_text("half")
        raise RuntimeError("killed")
    assert json.loads(path.read_text()) == {"old": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_an_existing_file_is_kept_unless_told(tmp_path):
    path = write_json(tmp_path / "a.json", 1)
    with pytest.raises(AvsctlError, match="--overwrite"), whole_file(path, overwrite=False):
        pass
    assert path.read_text() == "1\n"


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_unreadable_json_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(AvsctlError, match="a.json is not readable JSON"):
        read_json(path)


def test_hashes_tell_where_one_part_ends():
    assert hash_of("ab", "c") != hash_of("a", "bc")
    assert hash_of("ab", "c") == hash_of(b"ab", b"c")


@pytest.mark.parametrize("size", [0, 5, 2**20, 2**20 + 1])
def test_a_file_s_hashes_are_those_of_its_content(tmp_path, size):
    path = tmp_path / "weights"
    path.write_bytes(content := bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    assert hash_of_file(path) == hash_of(content)
    assert sha256_of_file(path) == hashlib.sha256(content).hexdigest()[:16]
