"""The dashboard with an embedder: a text is uploaded as it is, and found by what it means."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from server_kit import ServerProcess
from streamlit.testing.v1 import AppTest

import vdb_dashboard
import vdb_sdk

if TYPE_CHECKING:
    import pytest

NOTES = """The harbour lies below the town. Fishing boats leave before dawn and come back at noon.

Bread is baked with rye flour and a sour dough. It keeps for a week.

The observatory opens at night. From its dome one sees the rings of Saturn."""


def test_a_text_is_uploaded_and_found_by_its_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ServerProcess(tmp_path / "data") as server, vdb_sdk.connect(server.url) as client:
        library = client.create_library("Notes", id="notes")
        monkeypatch.setenv("VDB_URL", server.url)
        # Streamlit puts its page there.
        monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
        app = AppTest.from_file(
            str(Path(vdb_dashboard.__file__).with_name("app.py")), default_timeout=60
        ).run()
        app.switch_page("views/upload.py").run()
        app.file_uploader[0].upload("notes.txt", NOTES.encode())
        app.run()
        app.number_input("upload-size").set_value(90)
        app.number_input("upload-overlap").set_value(0)
        app.run()
        assert "all_minilm_l6_v2" in app.info[0].value.replace("\\", "")
        app.button("upload-go").click().run()
        assert not app.exception
        assert not app.error, [each.value for each in app.error]
        assert library.info().embedder == "all_minilm_l6_v2"

        app.switch_page("views/search.py").run()
        app.text_input("search-text").set_value("looking at planets through a telescope")
        app.number_input("search-k").set_value(1)
        app.button("search-go").click().run()
        assert not app.exception
        assert not app.error, [each.value for each in app.error]
        found = "".join(
            each.value for each in app.html if "vdb-hit" in each.value and "<style>" not in each.value
        )
        assert "Saturn" in found
        assert "Bread" not in found
        assert app.get("vega_lite_chart")
        app.session_state["client"].close()
