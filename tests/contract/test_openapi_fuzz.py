"""Schemathesis tries the OpenAPI document out on a real server: examples, edges of every schema, fuzzing, sequences.

No 5xx whatever is sent, and every answer has a status, a media type, headers and a body that the document names.
``VDB_SCHEMA_SECONDS`` sets how long it goes on, and ``VDB_SCHEMA_SEED`` repeats a run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from server_kit import FULL, ServerProcess

HERE = Path(__file__).parent
SECONDS = os.environ.get("VDB_SCHEMA_SECONDS", "600" if FULL else "45")
SEED = os.environ.get("VDB_SCHEMA_SEED", "1" if os.environ.get("CI") else "")


def test_the_server_keeps_what_its_openapi_document_says(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml")),
            *("run", f"{server.url}/openapi.json", "--max-time", SECONDS),
            *(
                "--request-timeout",
                "30",
                "--continue-on-failure",
                "--no-color",
                "--generation-database",
                "none",
            ),
            *(("--seed", SEED) if SEED else ()),
        ]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "fuzz_hooks", "PYTHONPATH": str(HERE)}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=3600, check=False
        )
        assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
        assert server.stop() == 0
    tried = re.search(r"Tested: (\d+)", done.stdout)
    generated = re.search(r"([\d,]+) generated", done.stdout)
    assert tried is not None
    assert generated is not None
    assert int(tried[1]) >= 32
    assert int(generated[1].replace(",", "")) >= 1_000
    assert re.search(r"(?m)^ .*✅ +Stateful", done.stdout), done.stdout[-3_000:]
    log = server.log.read_text()
    assert '"level":"error"' not in log.replace(" ", ""), log[-5_000:]
    print(f"{generated[1]} requests in {SECONDS} s")
