"""Does with the template what its reader does: make a plugin, install it, see it, serve it, restart, run its tests.

``python3 noxfile.py -s template`` calls it for each language, with a fresh environment and the wheels of this checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import copier
import numpy as np

import vdb_sdk

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

TEMPLATE = Path(__file__).resolve().parent
ROWS, DIMENSION = 3000, 32


def main() -> None:
    """Run every step; the first that fails ends it with its output."""
    parser = argparse.ArgumentParser(description=__doc__)
    _ = parser.add_argument("language", choices=["python", "rust"])
    _ = parser.add_argument("plugin", type=Path, help="where the plugin is made")
    _ = parser.add_argument("python", type=Path, help="the interpreter of a fresh environment")
    _ = parser.add_argument("wheels", nargs="+", help="wheels of vdb")
    options = parser.parse_args()
    language, plugin, python = cast(
        "tuple[str, Path, Path]", (options.language, options.plugin, options.python)
    )

    with step("copier copy"):
        _ = copier.run_copy(str(TEMPLATE), plugin, data={"language": language}, defaults=True, quiet=True)
    answers = (plugin / ".copier-answers.yml").read_text(encoding="utf-8")
    name = next(line.split(": ")[1] for line in answers.splitlines() if line.startswith("index_name: "))
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    with step("pip install vdb"):
        run([*pip, *cast("list[str]", options.wheels)])
    with step("pip install the plugin, with what its tests and linters need"):
        run([*pip, f"{plugin}[test,lint]"])
    with step("vdb plugins"):
        told = run([str(python), "-m", "vdb_server", "plugins", "--json"])
        found = {report["name"]: report for report in json.loads(told)}
        if found.get(name, {}).get("state") != "loaded":
            sys.exit(f"vdb plugins does not show {name!r} as loaded:\n{told}")
    with step("serve, build, search, restart, search"):
        serve(python, name)
    with step("its tests"):
        print(run([str(python), "-m", "pytest", "-q"], plugin).strip().splitlines()[-1])
    with step("its linters"):
        for command in (
            ["ruff", "check"],
            ["ruff", "format", "--check"],
            ["basedpyright", "--pythonpath", str(python)],
        ):
            _ = run([str(python), "-m", *command], plugin)
        if language == "rust":
            _ = run(["cargo", "fmt", "--check"], plugin)
            _ = run(["cargo", "clippy", "--quiet", "--all-targets", "--", "-D", "warnings"], plugin)


@contextmanager
def step(what: str) -> Generator[None]:
    """Say what is done, and how long it took."""
    began = time.monotonic()
    print(f"{what} ...", flush=True)
    yield
    print(f"{what}: {time.monotonic() - began:.1f} s", flush=True)


def run(command: list[str], folder: Path | None = None) -> str:
    """Run a program; returns what it said, and ends with that where it fails."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("VDB_", "PYTHONPATH"))
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


@contextmanager
def server(python: Path, data: Path) -> Generator[str]:
    """A server in a process of its own; its URL."""
    command = [str(python), "-m", "vdb_server", "serve", "--port", "0", "--data-dir", str(data)]
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("VDB_", "PYTHONPATH"))
    }
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        try:
            for line in cast("IO[str]", process.stdout):
                if "http://" in line:
                    yield "http://" + line.split("http://", 1)[1].split()[0].rstrip("/")
                    break
            else:
                sys.exit("the server ended before it was ready")
        finally:
            process.terminate()
            _ = process.wait(60)


def serve(python: Path, name: str) -> None:
    """Use the index type as a client of an unchanged server does, over a restart."""
    rng = np.random.default_rng(1)
    centers = rng.standard_normal((50, DIMENSION))
    near = centers[rng.integers(0, 50, ROWS + 20)] + 0.5 * rng.standard_normal((ROWS + 20, DIMENSION))
    rows = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    rows, queries = rows[:ROWS], rows[ROWS:]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        with server(python, data) as url, vdb_sdk.connect(url) as client:
            library = client.create_library("Template", id="template")
            _ = library.upsert(
                ids=[f"c{n}" for n in range(ROWS)],
                embeddings=rows,
                metadatas=[{"n": n} for n in range(ROWS)],
            )
            _ = library.build_index(name)
            before = search(library, name, rows, queries)
            _ = library.delete(ids=["c0"])
        with server(python, data) as url, vdb_sdk.connect(url) as client:
            after = search(client.library("template"), name, rows, queries)
        print(f"recall@10 of {name}: {before:.3f}, after a restart {after:.3f}")


def search(
    library: vdb_sdk.LibraryHandle, name: str, rows: NDArray[np.float32], queries: NDArray[np.float32]
) -> float:
    """Search with and without a filter; returns recall@10, and insists on what is promised."""
    status = library.index_status()
    if status.type != name or status.state != "ready":
        sys.exit(f"expected the index {name!r}, ready; received {status.type!r}, {status.state}")
    found = 0
    for query in queries:
        nearest = np.argsort(-(rows @ query), kind="stable")
        for below in (None, 500):
            result = library.search(query, k=10, filter=None if below is None else {"n": {"$lt": below}})
            ids = [int(hit.id[1:]) for hit in result]
            wanted = [n for n in nearest.tolist() if below is None or n < below][:10]
            if len(ids) != 10 or any(below is not None and n >= below for n in ids):
                sys.exit(f"expected 10 hits that match; received {ids}")
            found += len(set(ids) & set(wanted))
    reached = found / (20 * len(queries))
    if reached < 0.9:
        sys.exit(f"recall@10 is {reached}; expected 0.9 at least")
    return reached


if __name__ == "__main__":
    main()
