"""A server starts with small caches of its threads, by itself and as it was called."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from command_kit import python, serving

OWN = "glibc.malloc.tcache_count=1"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has such caches")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", OWN),
        ("glibc.malloc.perturb=0", f"glibc.malloc.perturb=0:{OWN}"),
        ("glibc.malloc.tcache_count=3", "glibc.malloc.tcache_count=3"),
    ],
)
def test_what_a_server_is_started_with(given: str, expected: str, tmp_path: Path) -> None:
    with serving(tmp_path / "data", GLIBC_TUNABLES=given) as server:
        # Of the process that was started, which is the one that serves. glibc ends each setting where it read it.
        began = Path(f"/proc/{server.process.pid}/environ").read_bytes().replace(b"\0", b":")
        assert f":GLIBC_TUNABLES={expected}:".encode() in began
        assert server.get("/v1/libraries")["items"] == []


def test_a_program_that_calls_the_command_is_not_started_again(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from vdb_server.cli import main\n"
        "print('begun', flush=True)\n"
        "sys.argv = ['vdb', 'serve', '--help']\n"
        "main()\n"
    )
    done = python(program, GLIBC_TUNABLES="")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("begun") == 1
    assert "Serve the REST API" in done.stdout
