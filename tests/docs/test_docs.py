"""The docs say what the program does."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import click
import pytest

from avsctl.cli import cli
from avsctl_models.weights.released import FOLDER_VARIABLE, released

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
SEPARATORS = {"|", "||", "&&", ";"}
REDIRECTIONS = {">", ">>", "<", "2>"}
FILES = re.compile(r"[\w./-]+\.(?:mp4|safetensors|pth|json|toml|csv)")


def _blocks(page: Path, *languages: str) -> list[str]:
    kinds = "|".join(languages)
    return re.findall(rf"^```(?:{kinds})\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def _shell_lines() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in _blocks(page, "bash", "console", "sh", "shell"):
            prompted = "$ " in block  # what has no prompt there is output
            for line in block.replace("\\\n", " ").splitlines():
                if line.strip() and not line.strip().startswith("#") and (not prompted or line.startswith("$ ")):
                    yield page.name, line.strip().removeprefix("$ ")


def _commands(line: str) -> list[list[str]]:
    """The commands of a line, each as words, without comments, redirections and variables set before them."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.wordchars += "…{}[],:@+%$"
    commands: list[list[str]] = [[]]
    words = iter(lexer)
    for word in words:
        if word in SEPARATORS:
            commands.append([])
        elif word in REDIRECTIONS:
            next(words)
        elif commands[-1] or not re.fullmatch(r"[A-Z_]+=.*", word):
            commands[-1].append(word)
    return [command for command in commands if command]


def _parse_avsctl(words: list[str]) -> None:
    command, context = cli, click.Context(cli, info_name="avsctl", **cli.context_settings)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"avsctl has no command {words[0]}"
        command, context, words = found, click.Context(found, info_name=words[0], parent=context), words[1:]
    if "--help" not in words and "--version" not in words:
        command.make_context(context.info_name, words, parent=context.parent)


def _check_python(words: list[str]) -> None:
    """`python FILE …` or `python -m MODULE …`; of torchrun, what comes after its own options."""
    if words[0] == "-m" and words[1] == "avsctl":
        _parse_avsctl(words[2:])
    elif words[0] == "-m":
        assert words[1] in ("json.tool", "pytest", "venv", "build", "mypy"), f"python -m {words[1]}"
    elif words[0] != "-c":
        assert (ROOT / words[0]).is_file(), f"there is no {words[0]}"


def _check_torchrun(words: list[str]) -> None:
    takes_value = ("--nproc-per-node", "--nnodes", "--node-rank", "--master-addr", "--master-port")
    takes_value = (*takes_value, "--rdzv-backend", "--rdzv-endpoint", "--rdzv-id")
    while words[0].startswith("--"):
        words = words[2:] if words[0] in takes_value and "=" not in words[0] else words[1:]
    _check_python([word for word in words if word != "--"])


def _check_pip(words: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert words[0] == "install", f"pip {words[0]}"
    for name, extras in (re.fullmatch(r"(\.|[\w-]+)(?:\[([\w,]+)\])?", word).groups() for word in words[1:]):
        if name in (".", "avsctl"):
            assert set(filter(None, (extras or "").split(","))) <= set(project["optional-dependencies"]), extras


def _check_eval(words: list[str]) -> None:
    assert re.fullmatch(r"\$\(_AVSCTL_COMPLETE=(bash|zsh|fish)_source avsctl\)", words[0]), words


def _check_bash(words: list[str]) -> None:
    assert (ROOT / words[0]).is_file(), f"there is no {words[0]}"


CHECKS = {
    "avsctl": _parse_avsctl,
    "python": _check_python,
    "torchrun": _check_torchrun,
    "pip": _check_pip,
    "bash": _check_bash,
    "eval": _check_eval,
    "git": lambda words: None,
    "cd": lambda words: None,
    "export": lambda words: None,
    "source": lambda words: None,
}
"""What a shell line in the docs may begin with, and what is checked of the rest."""


@pytest.mark.parametrize(("page", "line"), list(_shell_lines()))
def test_every_shell_line_in_the_docs_would_run(page, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "weights"))
    for entry in (released()[word] for word in line.split() if word in released()):
        home = tmp_path / "weights" / entry.name
        home.mkdir(parents=True)
        for name in ("config.json", "model.safetensors") if entry.hub else (entry.filename or "weights.pth",):
            (home / name).touch()
    for name in FILES.findall(line):
        if not Path(name).is_absolute():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("{}" if name.endswith(".json") else "")
    for words in _commands(line):
        assert words[0] in CHECKS, f"{page}: nobody checks lines that begin with {words[0]}"
        CHECKS[words[0]](words[1:])


@pytest.mark.parametrize(
    "line", ["avsctl no-such", "avsctl evaluate --no-such", "bash none.sh", "rm -r x", "python a.py"]
)
def test_a_wrong_shell_line_would_be_found(line):
    words = _commands(line)[0]
    with pytest.raises((AssertionError, click.UsageError, KeyError)):
        CHECKS[words[0]](words[1:])


def test_a_line_of_several_commands_is_taken_apart():
    line = 'A=1 avsctl status --json | python -m json.tool > "a b.json" && avsctl visualize "my video.mp4"  # why'
    assert _commands(line) == [
        ["avsctl", "status", "--json"],
        ["python", "-m", "json.tool"],
        ["avsctl", "visualize", "my video.mp4"],
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_docs_compiles_and_its_imports_exist(page):
    for block in _blocks(page, "python"):
        if page.name == "api.md":
            continue  # signatures, not code
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{page.name}: {node.module} has no {alias.name}"
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)


@pytest.mark.parametrize("name", ["commands.md", "api.md"])
def test_generated_pages_are_what_the_program_says(name, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    generate = importlib.import_module("generate_commands" if name == "commands.md" else "generate_api")
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert page == generate.reference(), "run python docs/generate_commands.py"


def test_the_measured_part_of_the_performance_page_is_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    generate = importlib.import_module("generate_performance")
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert page == generate.reference(), "run python docs/generate_performance.py"
    assert page.count(generate.BEGIN) == page.count(generate.END) == 1


@lru_cache
def _anchors(page: Path) -> set[str]:
    """What a link may name behind #, made of the headings as GitHub makes it."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    anchors: set[str] = set()
    for title in re.findall(r"^#+ +(.+?) *#*$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "").lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 1
        unique = anchor
        while unique in anchors:
            unique, number = f"{anchor}-{number}", number + 1
        anchors.add(unique)
    return anchors


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_holds_both_sides_of_a_merge(page):
    assert not re.findall(r"^(?:<{7}|={7}|>{7})(?: .*)?$", page.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`\n]*`", "", text)
    targets = re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)
    for target in targets:
        if re.match(r"[a-z]+:", target):
            assert re.match(r"https?://[\w.-]+(/|$)|mailto:", target), f"{page.name} links to {target}"
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in _anchors(file), f"{page.name} links to {target}; {file.name} has no such heading"


def test_the_index_leads_to_every_page():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if f"({page.name})" not in index]
    assert missing == ["index.md"]


def test_the_changelog_has_the_shape_it_promises():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.startswith("# Changelog\n")
    versions = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert versions[0].startswith("[Unreleased]\n")
    for version in versions:
        title = version.splitlines()[0]
        assert re.fullmatch(r"\[Unreleased\]|\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", title), title
        kinds = re.findall(r"^### (.+)$", version, re.MULTILINE)
        order = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
        assert kinds == [kind for kind in order if kind in kinds], f"{title}: {kinds}"
        for section in re.split(r"^### .+$", version, flags=re.MULTILINE)[1:]:
            lines = section.strip("\n").splitlines()
            assert lines and all(re.match(r"- \S|  \S", line) for line in lines), section
    entries = re.findall(r"^- .+(?:\n  .+)*", text, re.MULTILINE)
    assert len(entries) == len(set(entries)), "an entry stands there twice"
