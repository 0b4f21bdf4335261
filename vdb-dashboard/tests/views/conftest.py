"""The pages as Streamlit runs them, without a browser, against a real server in a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from server_kit import ServerProcess
from streamlit.testing.v1 import AppTest

import vdb_dashboard
import vdb_sdk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

APP = Path(vdb_dashboard.__file__).with_name("app.py")


class Pages:
    """The dashboard in one session."""

    def __init__(self) -> None:
        self.app = AppTest.from_file(str(APP), default_timeout=30).run()

    def open(self, page: str) -> AppTest:
        """Go to a page; nothing may have gone wrong on the way."""
        self.app.switch_page(f"views/{page}.py").run()
        return self.fine()

    def press(self, key: str, timeout: float = 60) -> AppTest:
        """Press a button; what the page shows then is the caller's to judge, but for a traceback."""
        self.app.button(key).click().run(timeout=timeout)
        assert not self.app.exception, [each.message for each in self.app.exception]
        return self.app

    def fill(self, **values: object) -> AppTest:
        """Set widgets by key, a dash for each underscore, and run."""
        self.enter(**values)
        self.app.run()
        assert not self.app.exception, [each.message for each in self.app.exception]
        return self.app

    def enter(self, **values: object) -> None:
        """Set widgets, as in a form, whose values nobody sees before its button is pressed."""
        for name, value in values.items():
            key = name.replace("_", "-")
            kinds = ("text_input", "text_area", "number_input", "selectbox", "toggle", "button_group")
            widget = next(each for kind in kinds for each in getattr(self.app, kind) if each.key == key)
            widget.set_value(value)

    def pick(self, table: str, *rows: int) -> AppTest:
        """Select rows of the table whose key begins so."""
        key = next(each.key for each in self.app.dataframe if (each.key or "").startswith(table))
        self.app.session_state[key] = {"selection": {"rows": list(rows), "columns": [], "cells": []}}
        self.app.run()
        return self.fine()

    def fine(self) -> AppTest:
        assert not self.app.exception, [each.message for each in self.app.exception]
        assert not self.app.error, [each.value for each in self.app.error]
        return self.app

    @property
    def errors(self) -> str:
        return "\n".join(each.value.replace("\\", "") for each in self.app.error)

    @property
    def toasts(self) -> list[str]:
        return [each.value.replace("\\", "") for each in self.app.toast]

    @property
    def html(self) -> str:
        return "\n".join(each.value for each in self.app.html if "<style>" not in each.value)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    # What a page says where texts cannot be read; with an embedder, see tests/e2e/test_dashboard_texts.py.
    without = {"VDB_PLUGINS_DISABLED": "minilm"}
    with ServerProcess(tmp_path_factory.mktemp("dashboard") / "data", environment=without) as process:
        yield process


@pytest.fixture
def client(server: ServerProcess) -> Iterator[vdb_sdk.Client]:
    with vdb_sdk.connect(server.url) as client:
        yield client
        for library in list(client.libraries()):
            client.delete_library(library.id)


@pytest.fixture
def pages(
    server: ServerProcess, client: vdb_sdk.Client, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Pages]]:
    """Opens the dashboard on the server; made when the test has put there what it needs."""
    for name in [name for name in os.environ if name.startswith("VDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VDB_URL", server.url)
    # Streamlit puts the page there, which each process that a later test starts would then run as its own main module.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    opened: list[Pages] = []

    def make() -> Pages:
        opened.append(Pages())
        return opened[-1]

    yield make
    for each in opened:
        if "client" in each.app.session_state:
            each.app.session_state["client"].close()


@pytest.fixture
def library(client: vdb_sdk.Client) -> vdb_sdk.LibraryHandle:
    """300 chunks in two documents."""
    made = client.create_library("Rows", id="rows")
    random = np.random.default_rng(0)
    made.upsert(
        ids=[f"r{n}" for n in range(300)],
        embeddings=random.normal(size=(300, 16)).astype(np.float32),
        texts=[f"row number {n}" for n in range(300)],
        document_ids=["even" if n % 2 == 0 else "odd" for n in range(300)],
        metadatas=[{"n": n} for n in range(300)],
        create_documents=True,
    )
    return made
