"""Builds the documentation site from ``docs/``, strictly: a warning is an error. ``--serve`` shows it while it is written.

Pages are written to be read in the repository as well, so they link to what is beside ``docs/``. The site has no such
pages: a copy of ``docs/`` is made in which these links lead to the repository, or name the path where no address of a
repository is declared. Zensical reads the copy; ``zensical.toml`` says how.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from check_site import faults

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SITE = ROOT / "site"
STAGE = ROOT / ".nox" / "docs" / "source"
PUBLISHED = {".md", ".svg", ".png", ".css"}
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
FENCE = re.compile(r"(?ms)^ *```.*?^ *```$")
ROW = re.compile(r"(?m)^\|.*$")
CODE = re.compile(r"`[^`\n]+`")


def repository() -> str | None:
    """The address of the repository, where vdb-core declares one."""
    project = tomllib.loads((ROOT / "vdb-core" / "pyproject.toml").read_text("utf-8"))["project"]
    urls = {key.lower(): value for key, value in project.get("urls", {}).items()}
    return urls.get("repository") or urls.get("source")


def unescape(row: re.Match[str]) -> str:
    """Write a pipe within code in a table as Zensical's Markdown wants it; GitHub's wants a backslash before it."""
    return CODE.sub(lambda code: code[0].replace("\\|", "|"), row[0])


def rewrite(text: str, page: Path, address: str | None) -> str:
    """Turn links that leave ``docs/`` into the repository's address, or into the path as text."""

    def mend(link: re.Match[str]) -> str:
        target, _, fragment = link["target"].partition("#")
        if not target or "://" in target or target.startswith("mailto:") or link["image"]:
            return link[0]
        full = (page.parent / target).resolve()
        if full.is_relative_to(DOCS):
            return link[0]
        path = full.relative_to(ROOT).as_posix()
        if address:
            kind = "tree" if full.is_dir() else "blob"
            return f"[{link['text']}]({address}/{kind}/main/{path}{'#' if fragment else ''}{fragment})"
        named = link["text"].strip("`").rstrip("/") == path
        return f"`{path}`" if named else f"{link['text']} (`{path}`)"

    def prose(part: str) -> str:
        return ROW.sub(unescape, LINK.sub(mend, part))

    parts, start = list[str](), 0
    for fence in FENCE.finditer(text):
        parts += [prose(text[start : fence.start()]), fence[0]]
        start = fence.end()
    return "".join([*parts, prose(text[start:])])


def stage() -> None:
    """Make the copy what ``docs/`` is; a file that is the same keeps its time, so that a server sees what changed."""
    address = repository()
    wanted: set[Path] = set()
    for file in sorted(DOCS.rglob("*")):
        if file.suffix not in PUBLISHED or not file.is_file():
            continue
        copy = STAGE / file.relative_to(DOCS)
        wanted.add(copy)
        content = file.read_bytes()
        if file.suffix == ".md":
            content = rewrite(content.decode("utf-8"), file, address).encode("utf-8")
        if not copy.exists() or copy.read_bytes() != content:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
    for old in STAGE.rglob("*"):
        if old.is_file() and old not in wanted:
            old.unlink()


def zensical(*arguments: str) -> list[str]:
    """The command of the Zensical that is installed beside this Python."""
    return [sys.executable, "-m", "zensical", *arguments]


def build() -> int:
    """Build into ``site/``; anything but 0 where there was a warning or something is missing."""
    shutil.rmtree(SITE, ignore_errors=True)
    command = zensical("build", "--strict", "--clean")
    if code := subprocess.run(command, cwd=ROOT, check=False).returncode:
        return code
    problems = faults(SITE)
    print(
        "\n".join(problems) or f"{len(list(SITE.rglob('*.html')))} pages, every link leads somewhere",
        flush=True,
    )
    return 1 if problems else 0


def serve(address: str) -> int:
    """Serve on loopback and carry changes over until Ctrl-C."""
    server = subprocess.Popen(zensical("serve", "--dev-addr", address), cwd=ROOT)
    try:
        while server.poll() is None:
            time.sleep(0.5)
            stage()
    except KeyboardInterrupt:
        server.terminate()
    return server.wait()


def main() -> int:
    """Stage, then build or serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help="serve, and build again what changes")
    parser.add_argument("--address", default="127.0.0.1:8080", help="where --serve listens (%(default)s)")
    arguments = parser.parse_args()
    stage()
    return serve(arguments.address) if arguments.serve else build()


if __name__ == "__main__":
    sys.exit(main())
