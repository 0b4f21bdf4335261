from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import vdb_sdk

ROOT = Path(__file__).parent.parent
HEAVY = ("httpx", "httpx2", "numpy", "pandas", "polars", "pyarrow", "asyncio", "vdb_core", "vdb_server")


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_importing_loads_no_engine_no_numpy_and_no_http() -> None:
    out = run(f"import sys, vdb_sdk; print([name for name in {HEAVY!r} if name in sys.modules])")
    assert out.strip() == "[]"


def test_an_engine_in_process_is_used_without_http_client() -> None:
    out = run(
        "import sys, vdb_sdk\n"
        "with vdb_sdk.connect() as client: client.create_library('a', id='a')\n"
        "print('httpx' in sys.modules)"
    )
    assert out.strip() == "False"


def test_importing_takes_less_than_a_fifth_of_a_second() -> None:
    # Of the processor's time, which a busy machine does not stretch.
    program = "import time; t = time.process_time(); import vdb_sdk; print(time.process_time() - t)"
    assert min(float(run(program)) for _ in range(5)) < 0.2


def test_only_one_module_knows_httpx() -> None:
    package = Path(vdb_sdk.__file__).parent
    users = [
        path.name for path in package.rglob("*.py") if "import httpx" in path.read_text(encoding="utf-8")
    ]
    assert users == ["_http.py"]


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert vdb_sdk.__version__ == project["version"]


def test_a_missing_engine_is_named_with_the_command_that_installs_it() -> None:
    out = run(
        "import sys\n"
        "sys.modules['vdb_server'] = None\n"
        "import vdb_sdk\n"
        "try: vdb_sdk.connect()\n"
        "except vdb_sdk.EmbeddedUnavailable as error: print(error)\n"
    )
    assert "pip install 'vdb-sdk[embedded]'" in out
