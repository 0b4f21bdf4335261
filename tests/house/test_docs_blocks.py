"""Blocks that are neither Python nor commands: data is parsed and held against the code, layouts against what is there.

A block with neither language nor a check here fails the first test: say what it is, or check it.
"""

from __future__ import annotations

import importlib
import json
import re
import tarfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from page_shell import PAGES, ROOT, Block, blocks_of
from server_kit import ServerProcess

import vdb_sdk
from vdb_core.filters import parse_filter

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
ELSEWHERE = {
    "python": "test_docs.py and test_readme.py run it",
    "console": "test_docs_commands.py and test_docs_rest.py",
    "py": "tests/template/test_template.py runs it against the served plugin",
}
FORMULAS_AND_DRAWINGS = {
    "docs/adr/0012-exactness-by-int8-codes.md",
    "docs/explanation/exactness.md",
    "docs/explanation/indexes.md",
    "docs/explanation/engine.md",
}
CONTRACTS = {
    "docs/reference/hooks/vdb_register_index_types.md": "vdb_core.indexes.Index",
    "docs/reference/hooks/vdb_register_snapshot_stores.md": "vdb_core.persistence.SnapshotStore",
    "docs/reference/hooks/vdb_register_journals.md": "vdb_core.persistence.Journal",
    "docs/reference/hooks/vdb_register_embedders.md": "vdb_core.persistence.Embedder",
}
CHECKED = {
    ("README.md", "text"),  # test_readme.py prints it
    ("README.md", "toml"),  # test_readme.py installs by it
    ("docs/reference/rest-api.md", "json"),  # test_docs_rest.py compares it
    ("docs/reference/rest-api.md", "text"),  # test_docs_rest.py compares it
    ("docs/reference/errors.md", "json"),  # test_docs_errors.py compares it
    ("docs/reference/filters.md", "json"),
    ("docs/reference/metrics.md", "json"),
    ("docs/reference/metrics.md", "yaml"),
    ("docs/reference/on-disk.md", ""),
    ("docs/how-to/docker.md", "dockerfile"),
    ("docs/adr/0008-store-and-journal-signatures.md", ""),
    ("docs/tutorial/first-plugin.md", ""),
    ("vdb-index-rust/README.md", ""),
    *((page, "") for page in CONTRACTS),
    *((page, language) for page in FORMULAS_AND_DRAWINGS for language in ("", "text")),
}


def of(page: str, language: str = "") -> list[Block]:
    return [block for block in BLOCKS if (block.page, block.language) == (page, language)]


def test_every_block_is_checked_somewhere() -> None:
    unknown = [
        f"{block.where} ({block.language or 'no language'})"
        for block in BLOCKS
        if block.language not in ELSEWHERE and (block.page, block.language) not in CHECKED
    ]
    assert unknown == []
    assert len(BLOCKS) > 150


def test_no_fence_is_left_out() -> None:
    for page in PAGES:
        fences = len(re.findall(r"(?m)^ *```", page.read_text("utf-8")))
        assert fences == 2 * len(list(blocks_of(page))), page


@pytest.mark.parametrize(
    "block",
    [block for block in BLOCKS if block.language in {"json", "toml", "yaml"}],
    ids=lambda each: each.where,
)
def test_data_can_be_read(block: Block) -> None:
    {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}[block.language](block.text)


def test_the_filter_is_one() -> None:
    (block,) = of("docs/reference/filters.md", "json")
    parse_filter(json.loads(block.text))


def test_the_line_of_the_audit_log_has_the_fields_that_a_delete_writes(tmp_path: Path) -> None:
    (block,) = of("docs/reference/metrics.md", "json")
    shown = json.loads(block.text)
    settings = {"VDB_LOG_FORMAT": "json", "VDB_API_KEY": "0123456789abcdef"}
    with ServerProcess(tmp_path / "data", environment=settings) as server:
        with vdb_sdk.connect(server.url, api_key=settings["VDB_API_KEY"]) as client:
            library = client.create_library("Notes", id="notes")
            library.upsert(ids=["a", "b"], embeddings=np.eye(2), metadatas=[{"lang": "fr"}] * 2)
            library.delete(filter={"lang": "fr"})
        server.stop()
        lines = server.log.read_text("utf-8").splitlines()
    (line,) = [line for line in lines if '"vdb_server.audit"' in line]
    told = json.loads(line)
    assert told.keys() == shown.keys()
    differing = {"client", "request_id", "timestamp"}
    assert {key: told[key] for key in told if key not in differing} == {
        key: shown[key] for key in shown if key not in differing
    }


def test_alerts_and_scrapes_name_what_the_server_measures() -> None:
    scrape, alerts = (yaml.safe_load(block.text) for block in of("docs/reference/metrics.md", "yaml"))
    text = (ROOT / "docs/reference/metrics.md").read_text("utf-8")
    measured = set(re.findall(r"(?m)^\| `(vdb_\w+)` \|", text))
    expressions = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    asked = {name for each in expressions for name in re.findall(r"\bvdb_\w+", each)}
    assert {re.sub(r"_bucket$", "", name) for name in asked} <= measured
    assert scrape["scrape_configs"][0]["static_configs"][0]["targets"] == ["127.0.0.1:8000"]


def test_the_dockerfile_builds_upon_what_the_image_has() -> None:
    (block,) = of("docs/how-to/docker.md", "dockerfile")
    image = (ROOT / "Dockerfile").read_text("utf-8")
    (user,) = re.findall(r"USER (\d+:\d+)", block.text)
    (place,) = re.findall(r"pip --python (\S+)", block.text)
    assert f"USER {user}" in image
    assert place in image


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data directory that is in use, and an archive beside it."""
    folder = tmp_path_factory.mktemp("layout")
    with vdb_sdk.connect(folder / "data") as client:
        library = client.create_library("Notes", id="notes", metric="cosine")
        library.create_document("d")
        library.upsert(ids=["a", "b"], embeddings=np.eye(2), document_ids=["d", "d"])
        library.build_index("ivf_flat")
        library.export(folder / "notes.tar")
        yield folder


def test_the_layout_on_disk_is_what_the_page_draws(data: Path) -> None:
    tree, _ = of("docs/reference/on-disk.md")
    named = set(re.findall(r"[├└]── (\S+)", tree.text))
    library = data / "data" / "notes"
    generation = library / str(json.loads((library / "manifest.json").read_text("utf-8"))["generation"])
    assert any((generation / "index").iterdir())
    there = {
        path.name + "/" * path.is_dir()
        for folder in (data / "data", library, generation)
        for path in folder.iterdir()
    }
    own = {"notes/", *(f"{path.name}/" for path in library.iterdir() if path.is_dir())}
    # Placeholders; what appears only when something was damaged, or large, or when settings ask for it; SQLite's log beside its file.
    now_and_then = {"_quarantine/", "_journal_entries/", "_api_key", "_storage.json"}
    assert named - {"<library_id>/", "<generation>/"} - now_and_then == {
        name for name in there - own - now_and_then if not name.startswith("_journal.sqlite3-")
    }


def test_an_archive_holds_what_the_page_lists(data: Path) -> None:
    _, listing = of("docs/reference/on-disk.md")
    with tarfile.open(data / "notes.tar") as archive:
        assert archive.getnames() == [line.split()[0] for line in listing.text.splitlines()]


@pytest.mark.parametrize("page", sorted(CONTRACTS))
def test_a_contract_has_the_methods_that_its_page_lists(page: str) -> None:
    package, _, name = CONTRACTS[page].rpartition(".")
    contract = getattr(importlib.import_module(package), name)
    public = {
        each
        for each in {*vars(contract), *getattr(contract, "__annotations__", {})}
        if not each.startswith("_")
    }
    (block,) = of(page)
    told = {
        name
        for line in block.text.splitlines()
        for cell in re.split(r" {2,}", line)
        for name in re.findall(r"^(?:Index\.)?([a-z_]+)(?=\(|$)", cell)
    }
    # A method that a plugin may leave out is no part of the protocol, and is listed as optional.
    optional = set(re.findall(r"(?m)^([a-z_]+)\([^)]*\).* optional: ", block.text))
    assert told - optional == public


def test_the_decision_on_signatures_names_methods_that_are_there() -> None:
    (block,) = of("docs/adr/0008-store-and-journal-signatures.md")
    known = {
        name
        for contract in CONTRACTS.values()
        for name in vars(
            getattr(importlib.import_module(contract.rpartition(".")[0]), contract.rpartition(".")[2])
        )
    }
    assert set(re.findall(r"\.([a-z]+)\(", block.text)) <= known


def test_the_template_makes_the_files_that_the_tutorial_lists() -> None:
    (block,) = of("docs/tutorial/first-plugin.md")
    told = {
        Path(word).name
        for line in block.text.splitlines()[1:]
        for word in re.findall(r"[\w./]+\.(?:py|toml|yml|md)", line.split("  ")[1])
    }
    made = {re.sub(r"\{%.*?%\}|\.jinja$", "", path.name) for path in (ROOT / "plugins-template").rglob("*")}
    assert {"plugin.py", "forest.py", "ci.yml"} <= told <= made


def test_the_commands_of_the_rust_page_are_those_of_its_sessions() -> None:
    (block,) = of("vdb-index-rust/README.md")
    lines = [line.split("  ")[0] for line in block.text.splitlines()]
    assert lines == [
        "cargo test",  # session rust
        "cargo clippy --all-targets -- -D warnings",  # session rust
        "python3 ../noxfile.py -s safety",
        "cargo bench -p vdb-index",  # by hand: it compares kernels of one machine
        "maturin develop --release && pytest tests",  # session develop, and the distribution's own tests
    ]
