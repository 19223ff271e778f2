"""The README: every snippet compiles, and every command, target, option, name and link in it exists."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

import vertexkit
from vertexkit.cli.main import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def commands(program: str) -> list[str]:
    """Commands of ``program`` in the README's shell blocks, without comments."""
    lines = (line for block in blocks("bash") for line in block.splitlines())
    return [line for line in lines if line.startswith(f"{program} ")]


def test_there_is_something_to_check() -> None:
    assert len(blocks("python")) >= 4
    assert len(commands("make")) >= 5
    assert len(commands("vertexkit")) >= 5


@pytest.mark.parametrize("snippet", blocks("python"))
def test_a_python_snippet_compiles_and_uses_only_public_names(snippet: str) -> None:
    compile(snippet, "README.md", "exec")
    used = {
        node.attr
        for node in ast.walk(ast.parse(snippet))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "vk"
    }
    assert used <= set(vertexkit.__all__)


@pytest.mark.parametrize("snippet", [text for text in blocks("python") if "import vertexkit" in text])
def test_a_python_snippet_calls_nouns_as_they_are(snippet: str) -> None:
    """Methods of managers and nouns exist, and take the arguments that the snippets give."""
    import inspect

    from vertexkit.endpoints import Endpoint, Endpoints
    from vertexkit.models import Model, Models
    from vertexkit.session import Session, connect
    from vertexkit.storage import Bucket, Buckets

    owners: dict[str, Any] = {
        "session": Session,
        "session.models": Models,
        "session.endpoints": Endpoints,
        "session.buckets": Buckets,
        "session.bucket": Bucket,
        "endpoint": Endpoint,
        "model": Model,
    }
    for call in (node for node in ast.walk(ast.parse(snippet)) if isinstance(node, ast.Call)):
        if not isinstance(call.func, ast.Attribute):
            continue
        owner, name = ast.unparse(call.func.value), call.func.attr
        if owner == "vk" and name == "connect":
            function: Any = connect
        elif owner in owners:
            function = getattr(owners[owner], name)
        else:
            continue
        bound_self = [] if function is connect else [None]
        inspect.signature(function).bind(
            *bound_self, *call.args, **{str(keyword.arg): keyword.value for keyword in call.keywords}
        )


@pytest.mark.parametrize("command", commands("vertexkit"))
def test_a_vertexkit_command_and_its_options_exist(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command, comments=True)[1:]
    found: click.Command = app
    context = click.Context(app, info_name="vertexkit")
    while isinstance(found, click.Group):
        name = words.pop(0)
        nearer = found.get_command(context, name)
        assert nearer is not None, f"there is no {name!r} in {command!r}"
        found = nearer
    # Parsed, not run: files that the README names need not be here.
    for parameter in found.params:
        if isinstance(parameter.type, click.Path):
            monkeypatch.setattr(parameter, "type", click.STRING)
    with found.make_context(found.name, words, parent=context):
        pass


@pytest.mark.parametrize("command", commands("make"))
def test_a_make_target_exists_and_is_explained_by_make_help(command: str) -> None:
    target = shlex.split(command, comments=True)[1]
    assert re.search(rf"^{target}: .*## \S", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize("text", blocks("toml"))
def test_a_configuration_is_one_that_connect_reads(text: str, tmp_path: Path) -> None:
    from vertexkit.config import resolve

    (tmp_path / "pyproject.toml").write_text(text)
    settings = resolve(environ={}, start=tmp_path)
    expected = tomllib.loads(text)["tool"]["vertexkit"]
    assert {key: getattr(settings, key) for key in expected} == expected


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.name))
def test_every_file_that_is_named_or_linked_is_there(document: Path) -> None:
    text = document.read_text("utf-8")
    linked = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    marked = re.findall(r"<!-- runs: (\S+) -->", text)
    missing = [link for link in linked if not (document.parent / link).exists()]
    missing += [name for name in marked if not (ROOT / name).exists()]
    assert missing == []


def test_every_module_in_the_architecture_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"(?<![\w/.])(?:vertexkit/)?([a-z_]+(?:/[a-z_]+)*\.py)", text))
    package = ROOT / "vertexkit"
    places = [ROOT, package, package / "_core", package / "emulator", ROOT / "trainer_scripts"]
    assert len(named) > 20
    assert [name for name in sorted(named) if not any((place / name).exists() for place in places)] == []


def test_the_bench_table_holds_what_was_measured() -> None:
    table = README.partition("<!-- bench:begin -->")[2].partition("<!-- bench:end -->")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| ")][2:]
    names = {row[0].strip() for row in rows}
    assert {"import", "upload_dir, 2,000 files of 10 kB", "predict 1,000 images: client CPU"} <= names
    assert all(row[5].strip() == "met" for row in rows if row[4].strip())
