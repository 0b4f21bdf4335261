"""Runs the commands of a page as its reader would: ``vdb`` and ``curl`` by name, servers in the background.

What differs from a reader's shell: a server takes a free port and listens on loopback only where the page says no more,
and ``curl`` and ``--url`` find it although the page says 8000. ``curl`` is a stand-in that knows the options of the pages
and fails on a status of 400 and more, for the tests need nothing but Python.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    file
    for pattern in ("docs/**/*.md", "*.md", "*/README.md", "plugins/*/README.md", "demo/**/*.md")
    for file in ROOT.glob(pattern)
)
PAGES_URL = re.compile(r"(?:http://)?(?:127\.0\.0\.1|localhost):8000")
_FENCE = re.compile(r"(?ms)^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$")

_CURL = """\
import sys, urllib.request
method, headers, body, url, words = None, {}, None, None, sys.argv[1:]
while words:
    word = words.pop(0)
    if word == "-s":
        continue
    elif word == "-H":
        name, value = words.pop(0).split(":", 1)
        headers[name.strip()] = value.strip()
    elif word == "-d":
        body = words.pop(0).encode()
    elif word == "-X":
        method = words.pop(0)
    elif word.startswith("-"):
        sys.exit(f"curl: the stand-in does not know {word}")
    else:
        url = word if "://" in word else f"http://{word}"
request = urllib.request.Request(url, data=body, headers=headers, method=method)
sys.stdout.write(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30).read().decode())
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command of a page, and the lines below it that show what it prints."""

    where: str
    text: str
    output: str


def blocks_of(file: Path) -> Iterator[Block]:
    """Every fenced block of a page, within lists too."""
    text = file.read_text("utf-8")
    for found in _FENCE.finditer(text):
        indent = len(found["indent"])
        lines = "".join(line[indent:] if line.strip() else line for line in found["text"].splitlines(True))
        number = text.count("\n", 0, found.start()) + 1
        yield Block(file.relative_to(ROOT).as_posix(), number, found["language"], lines)


def commands_of(block: Block) -> Iterator[Command]:
    """The commands of a console block: each begins with ``$``, and goes on while a quote or a backslash is open."""
    lines = block.text.splitlines()
    while lines:
        line = lines.pop(0)
        if not line.startswith("$ "):
            raise ValueError(f"{block.where}: expected a command, found {line!r}")
        command = line[2:]
        while _is_open(command):
            command += "\n" + lines.pop(0)
        output = list[str]()
        while lines and not lines[0].startswith("$ "):
            output.append(lines.pop(0))
        yield Command(block.where, command, "\n".join(output))


def _is_open(command: str) -> bool:
    if command.endswith("\\"):
        return True
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return True
    return False


@dataclass
class Shell:
    """A folder, an environment, and the server that was started last."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    url: str | None = None
    _servers: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        tools = self.folder / ".tools"
        tools.mkdir(parents=True)
        self._tool(tools / "vdb", f'exec {shlex.quote(sys.executable)} -m vdb_server "$@"')
        (tools / "curl.py").write_text(_CURL, "utf-8")
        self._tool(
            tools / "curl", f'exec {shlex.quote(sys.executable)} {shlex.quote(str(tools / "curl.py"))} "$@"'
        )
        self._tool(tools / "python3", f'exec {shlex.quote(sys.executable)} "$@"')
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("VDB_", "OTEL_", "WEB_"))
        }
        self.environment = {**kept, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"}

    @staticmethod
    def _tool(file: Path, script: str) -> None:
        file.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        file.chmod(0o755)

    def run(self, command: str) -> str:
        """Run a command; returns what it prints, and fails where it fails."""
        words = shlex.split(command, comments=True)
        if words[0] == "export":
            name = words[1].partition("=")[0]
            self.environment[name] = self._sh(f'{command}\nprintf %s "${name}"')
            return ""
        if words[0] == "alias":
            name, _, value = words[1].partition("=")
            self.aliases[name] = value
            return ""
        if words[0] in self.aliases:
            command = self.aliases[words[0]] + command.removeprefix(words[0])
        if words[:2] == ["vdb", "serve"]:
            return self._serve(command)
        if self.url is not None:
            command = PAGES_URL.sub(self.url, command)
        return self._sh(command)

    def _sh(self, command: str) -> str:
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command}\nended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def _serve(self, command: str) -> str:
        """Start a server on a free port in the background, whether the page says ``&`` or not; returns what it says."""
        command = re.sub(r" --port \d+", "", command.split("#", maxsplit=1)[0].rstrip(" &"))
        log = (self.folder / "server.log").open("ab")
        server = subprocess.Popen(
            ["sh", "-c", f"exec {command} --port 0"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        self._servers.append(server)
        watchdog = threading.Timer(60, server.kill)
        watchdog.start()
        assert server.stdout is not None
        printed, found = "", None
        for line in server.stdout:
            printed += line
            if found := re.search(r"(?<=is ready at )http://[\w.]+:\d+", line):
                break
        watchdog.cancel()
        assert found, f"{command}\nis not ready: {printed}{(self.folder / 'server.log').read_text('utf-8')}"
        self.url = found[0].replace("0.0.0.0", "127.0.0.1")
        self.environment["VDB_URL"] = self.url
        return re.sub(r":\d+$", ":8000", printed.strip())

    def stop(self) -> None:
        """End the servers."""
        for server in self._servers:
            server.terminate()
        for server in self._servers:
            server.wait(30)
            if server.stdout is not None:
                server.stdout.close()
        self._servers.clear()
        self.url = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
