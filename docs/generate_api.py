"""Makes docs/api.md from the source: `python docs/generate_commands.py` writes it too."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
WIDTH = 100
HEADER = """# Functions and classes

Made from the source by `python docs/generate_commands.py`; a test compares it. [In Python](python.md) shows how they go
together. What isn't named here may change without notice.
"""
INPUTS = (
    "avsctl.workspace.Workspace",
    "avsctl.workspace.Run",
    "avsctl.configs.resolve_training",
    "avsctl.data.layouts.open_dataset",
    "avsctl.data.layouts.find_avsbench",
    "avsctl.data.synthetic.generate.generate",
    "avsctl.training.devices.choose_device",
    "avsctl.distributed.joined",
)
"""What the steps take."""

READERS = (
    "avsctl.caches.clips.ClipCache",
    "avsctl.caches.audio.AudioCache",
    "avsctl.caches.priors.PriorCache",
    "avsctl.inference.class_maps",
    "avsctl.inference.decided_classes",
    "avsctl.metrics.accumulate.BinaryScores",
    "avsctl.metrics.accumulate.SemanticScores",
    "avsctl.rendering.overlay.draw_masks",
    "avsctl.rendering.overlay.draw_heat",
    "avsctl.rendering.video.open_video",
    "avsctl.rendering.video.read_frames",
    "avsctl.rendering.sound.read_audio",
)
"""What reads files and results, and makes something of them."""

Definition = ast.FunctionDef | ast.ClassDef


def reference() -> str:
    """The whole page."""
    parts = [HEADER, "## Steps\n", "One function behind each command, in `avsctl.stages`.\n"]
    for command, names in _steps():
        parts += [f"### avsctl {command}\n", *map(_entry, names)]
    parts += ["## What the steps take\n", *map(_entry, INPUTS)]
    parts += ["## Files, scores and pictures\n", *map(_entry, READERS)]
    networks = [_entry(name, f"avsctl_models.{name.rpartition('.')[2]}") for name in _networks()]
    parts += ["## Networks\n", *networks]
    return "\n".join(parts)


def _steps() -> Iterator[tuple[str, list[str]]]:
    """The public functions and classes of `avsctl.stages` that each command's module imports."""
    commands = ast.literal_eval(_assigned("avsctl.cli", "COMMANDS"))
    seen: set[str] = set()
    for command in commands:
        names = [name for name in _imported(command) if name not in seen]
        seen.update(names)
        if names:
            yield command, names


def _imported(command: str) -> list[str]:
    modules = [f"avsctl.cli.{command.replace('-', '_')}"]
    if command.startswith("train-"):
        modules.append("avsctl.cli._training")
    found = [
        f"{node.module}.{alias.name}"
        for module in modules
        for node in ast.walk(_tree(module))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("avsctl.stages")
        for alias in node.names
        if not alias.name.isupper()  # constants need no page
    ]
    return sorted(dict.fromkeys(found), key=lambda name: (name.split(".")[-1][0].isupper(), found.index(name)))


def _networks() -> list[str]:
    block = next(node for node in _tree("avsctl_models").body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    names = [f"{node.module}.{alias.name}" for node in imports for alias in node.names]
    return sorted(names, key=lambda name: (name.split(".")[-1][0].isupper(), name.split(".")[-1]))


def _entry(name: str, title: str | None = None) -> str:
    """A heading, the signature and the docstring of a function; of a class its public methods, too."""
    module, _, last = name.rpartition(".")
    node = _definition(module, last)
    signature = _signature(node) if isinstance(node, ast.FunctionDef) else _class_signature(node)
    parts = [f"#### {title or name}\n", f"```python\n{signature}\n```\n", _documentation(node)]
    if isinstance(node, ast.ClassDef):
        parts += _methods(node)
    return "\n".join(parts)


def _methods(node: ast.ClassDef) -> list[str]:
    rows = []
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_") and ast.get_docstring(method):
            call = method.name if _is_property(method) else f"{method.name}({', '.join(_arguments(method.args))})"
            text = re.sub(r"\s+", " ", (ast.get_docstring(method) or "").split("\n\n")[0]).replace("|", "\\|")
            rows.append(f"| `{call.replace('|', chr(92) + '|')}` | {text} |")
    return ["| | |\n|---|---|", *rows, ""] if rows else []


def _signature(node: ast.FunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    arguments = list(_arguments(node.args))
    line = f"{node.name}({', '.join(arguments)}){returns}"
    if len(line) <= WIDTH:
        return line
    lines = "\n".join(f"    {argument}," for argument in arguments)
    return f"{node.name}(\n{lines}\n){returns}"


def _class_signature(node: ast.ClassDef) -> str:
    made = next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)
    if made is not None:
        signature = _signature(made).removeprefix("__init__")
        return node.name + signature.removesuffix(" -> None")
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
    if not fields or not node.decorator_list:
        return node.name
    lines = [f"    {ast.unparse(item)}," for item in fields]
    return "\n".join([f"{node.name}(", *lines, ")"])


def _arguments(arguments: ast.arguments) -> Iterator[str]:
    """Each argument with its type and default, as one writes them; `self` and `cls` are left out."""
    without = [None] * (len(arguments.args) - len(arguments.defaults))
    for argument, default in zip(arguments.args, [*without, *arguments.defaults], strict=True):
        if argument.arg not in ("self", "cls"):
            yield _argument(argument, default)
    if arguments.vararg:
        yield f"*{_argument(arguments.vararg, None)}"
    elif arguments.kwonlyargs:
        yield "*"
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _argument(argument, default)
    if arguments.kwarg:
        yield f"**{_argument(arguments.kwarg, None)}"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    text = argument.arg
    if argument.annotation:
        text += f": {ast.unparse(argument.annotation)}"
    if default is None:
        return text
    value = ast.unparse(default).replace("'", '"')
    return f"{text} = {value}" if argument.annotation else f"{text}={value}"


def _documentation(node: Definition) -> str:
    text = ast.get_docstring(node) or ""
    prose, _, rest = text.partition("\n\n")
    if re.match(r"(Args|Attributes|Returns|Raises|Source):", prose):
        prose, rest = "", text
    parts = [re.sub(r"\s+", " ", prose) + "\n"] if prose else []
    return "\n".join([*parts, f"```text\n{rest}\n```\n"]) if rest else "\n".join(parts)


def _is_property(method: ast.FunctionDef) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "property" for mark in method.decorator_list)


def _definition(module: str, name: str) -> Definition:
    for node in _tree(module).body:
        if isinstance(node, Definition) and node.name == name:
            return node
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom) and any((alias.asname or alias.name) == name for alias in node.names):
            return _definition(node.module or "", name)
    raise LookupError(f"{module} defines no {name}")


def _assigned(module: str, name: str) -> ast.expr:
    for node in _tree(module).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return node.value
    raise LookupError(f"{module} sets no {name}")


@lru_cache
def _tree(module: str) -> ast.Module:
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))
