"""Class heads filled from a model that knows other classes."""

from __future__ import annotations

import pytest
import torch

from avsctl_models import create_model, save_model
from avsctl_models.registry import list_models
from avsctl_models.weights.importing import initialise

SOURCE = ["background", "dog", "cat", "car"]
TARGET = ["silence", "kettle", "cat", "dog", "tap"]


def model_of(name, classes, seed):
    torch.manual_seed(seed)
    return create_model(name, preset="tiny", task="avss", num_classes=classes, image_size=64)


@pytest.fixture(params=list_models())
def name(request):
    return request.param


def test_rows_go_to_the_classes_of_the_same_name(name, tmp_path):
    source, target = model_of(name, 4, 1), model_of(name, 5, 2)
    fresh = {key: tensor.clone() for key, tensor in target.state_dict().items()}
    report = initialise(target, save_model(source, tmp_path / "m.safetensors"), classes=(SOURCE, TARGET))
    assert report.class_rows.kept == ["silence", "cat", "dog"]
    assert report.class_rows.new == ["kettle", "tap"]
    assert report.class_rows.left == ["car"]
    now = target.state_dict()
    heads = [key for key in target.class_rows if key in now]
    assert heads
    for key in heads:
        theirs = source.state_dict()[key]
        for row, place in ((0, 0), (2, 2), (3, 1)):
            assert torch.equal(now[key][row], theirs[place])
        for row in (1, 4):
            assert torch.equal(now[key][row], fresh[key][row])
        assert torch.equal(now[key][5:], theirs[4:]), "no object is no object"
    others = [key for key in now if key not in heads]
    assert all(torch.equal(now[key], source.state_dict()[key]) for key in others)
    assert not report.mismatched


def test_as_many_classes_of_other_names_are_not_taken_for_each_other(name, tmp_path):
    source, target = model_of(name, 4, 1), model_of(name, 4, 2)
    fresh = {key: tensor.clone() for key, tensor in target.state_dict().items()}
    names = ["background", "car", "tap", "pan"]
    initialise(target, save_model(source, tmp_path / "m.safetensors"), classes=(SOURCE, names))
    for key in (key for key in target.class_rows if key in fresh):
        assert torch.equal(target.state_dict()[key][1], source.state_dict()[key][3])
        assert torch.equal(target.state_dict()[key][2:4], fresh[key][2:4])


def test_names_that_do_not_count_the_rows_leave_the_head_as_it_is(name, tmp_path):
    source, target = model_of(name, 4, 1), model_of(name, 5, 2)
    fresh = {key: tensor.clone() for key, tensor in target.state_dict().items()}
    path = save_model(source, tmp_path / "m.safetensors")
    report = initialise(target, path, classes=(SOURCE[:3], TARGET))
    assert report.class_rows is None
    for key in (key for key in target.class_rows if key in fresh):
        assert torch.equal(target.state_dict()[key], fresh[key])
        assert any(line.startswith(f"{key}: found") for line in report.mismatched)
