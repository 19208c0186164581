"""What `avsctl_models` offers is what type checkers and editors see."""

from __future__ import annotations

import ast
from pathlib import Path

import avsctl_models


def test_type_checkers_see_every_lazy_name_where_it_lives():
    tree = ast.parse(Path(avsctl_models.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module.removeprefix("avsctl_models.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == avsctl_models._HOMES


def test_every_public_name_can_be_imported():
    for name in avsctl_models.__all__:
        assert getattr(avsctl_models, name) is not None
