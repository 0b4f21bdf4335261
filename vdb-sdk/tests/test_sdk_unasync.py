from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "unasync.py"

spec = importlib.util.spec_from_file_location("unasync", SCRIPT)
assert spec is not None
assert spec.loader is not None
unasync = importlib.util.module_from_spec(spec)
spec.loader.exec_module(unasync)


def test_the_synchronous_client_is_what_the_script_writes() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = await f(await g())\n", "x = f(g())\n"),
        (
            "async def f():\n    async with a as b:\n        pass\n",
            "def f():\n    with a as b:\n        pass\n",
        ),
        ("async for item in AsyncPager():\n    pass\n", "for item in Pager():\n    pass\n"),
        ("def __aenter__(self): ...\n", "def __enter__(self): ...\n"),
        ("from vdb_sdk._async.client import AsyncClient\n", "from vdb_sdk._sync.client import Client\n"),
        (
            '"""An `AsyncJob`; ``async with``.\n\n>>> await x()\n"""\n',
            '"""An `Job`; ``with``.\n\n>>> x()\n"""\n',
        ),
        ('s = "prose on async code, the awaited one"\n', 's = "prose on async code, the awaited one"\n'),
        ('s = f"{self.AsyncJob} é {x}"\n', 's = f"{self.Job} é {x}"\n'),
        ("y = 'é'; x = await f()  # see AsyncJob\n", "y = 'é'; x = f()  # see Job\n"),
        ("AsyncJobLike = 1\n", "AsyncJobLike = 1\n"),
    ],
)
def test_converts(source: str, expected: str) -> None:
    assert unasync.convert(source) == expected


def test_check_finds_an_edited_and_a_stray_file(tmp_path: Path) -> None:
    copy = tmp_path / "vdb-sdk"
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "scripts").mkdir()
    shutil.copy(SCRIPT, copy / "scripts")
    sync = copy / "src" / "vdb_sdk" / "_sync"
    pager = (sync / "pager.py").read_text(encoding="utf-8")
    (sync / "pager.py").write_text(pager + "\n", encoding="utf-8")
    (sync / "stray.py").write_text("", encoding="utf-8")
    command = [sys.executable, str(copy / "scripts" / "unasync.py")]
    found = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "pager.py" in found.stdout
    assert "stray.py" in found.stdout
    subprocess.run(command, check=True, capture_output=True)
    assert (sync / "pager.py").read_text(encoding="utf-8") == pager
    assert not (sync / "stray.py").exists()
