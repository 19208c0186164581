"""The layout is found by looking at the folder, and never silently another."""

from __future__ import annotations

import pytest

from avsctl.data.layouts import WELL_KNOWN, find_avsbench, open_dataset
from avsctl.errors import AvsctlError

FOLDER = "avsctl prepare folder"


def test_each_layout_is_found_by_its_files(semantic_root, object_root, folder_root):
    assert open_dataset(semantic_root).name == "avsbench-semantic"
    assert open_dataset(object_root).name == "avsbench-object"
    assert open_dataset(folder_root, command=FOLDER).name == "folder"


def test_one_half_of_avsbench_object_is_enough(object_root):
    (object_root / "Single-source").rename(object_root / "other")
    assert {entry.subset for entry in open_dataset(object_root).entries} == {"ms3"}


def test_a_dataset_one_folder_down_is_found(semantic_root):
    outer = semantic_root.parent / "outer"
    outer.mkdir()
    semantic_root.rename(outer / "AVSBench_semantic")
    assert open_dataset(outer).root == outer / "AVSBench_semantic"


def test_two_datasets_one_folder_down_are_refused(semantic_root, object_root):
    with pytest.raises(AvsctlError, match="several datasets"):
        open_dataset(semantic_root.parent)


def test_root_goes_before_the_variable_before_known_names(tmp_path, semantic_root, object_root):
    workspace = tmp_path / "workspace"
    known = workspace / WELL_KNOWN[-1]
    workspace.mkdir()
    environment = {"AVSBENCH_ROOT": str(object_root)}
    with pytest.raises(AvsctlError, match="--root DIR or \\$AVSBENCH_ROOT.*avsctl prepare synthetic"):
        find_avsbench(workspace, environment={})
    assert find_avsbench(workspace, semantic_root, environment).root == semantic_root
    assert find_avsbench(workspace, None, environment).root == object_root
    semantic_root.rename(known)
    assert find_avsbench(workspace, None, environment).root == object_root
    assert find_avsbench(workspace, None, {}).root == known


@pytest.mark.parametrize("named", ["root", "variable"])
def test_a_named_place_without_a_dataset_is_refused_though_another_is_near(tmp_path, semantic_root, named):
    semantic_root.rename(tmp_path / "AVSBench")
    wrong = tmp_path / "empty"
    wrong.mkdir()
    with pytest.raises(AvsctlError, match="empty holds no dataset"):
        if named == "root":
            find_avsbench(tmp_path, wrong, {})
        else:
            find_avsbench(tmp_path, None, {"AVSBENCH_ROOT": str(wrong)})


def test_another_commands_layout_names_that_command(semantic_root, folder_root):
    with pytest.raises(AvsctlError, match="avsctl prepare folder"):
        open_dataset(folder_root)
    with pytest.raises(AvsctlError, match="avsctl prepare avsbench"):
        open_dataset(semantic_root, command=FOLDER)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(AvsctlError, match="nowhere does not exist"):
        open_dataset(tmp_path / "nowhere")


def test_an_unknown_subset_names_those_there_are(semantic_root):
    with pytest.raises(AvsctlError, match="ms3, s4, v2"):
        open_dataset(semantic_root).subset("v3")
