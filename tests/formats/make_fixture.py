"""Makes the data directory of this version under ``tests/formats/<version>``, once a format; later versions must open it.

Run by hand when a format changes: ``python tests/formats/make_fixture.py v2``. What it stores is what
``test_formats.py`` expects of every version.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from vdb_core.persistence.sqlite_journal import SqliteJournal
from vdb_core.services import EngineSettings, open_services

ROWS = 300


def vectors() -> np.ndarray:
    """Rows that every version stores: float32 ``[300, 6]``, whatever NumPy's generators do in times to come."""
    numbers = np.arange(ROWS * 6, dtype=np.float64).reshape(ROWS, 6)
    return (np.sin(numbers * 1.7) * (1 + numbers % 7)).astype(np.float32)


def row(number: int) -> dict[str, object]:
    """The chunk of a row, its vector excluded."""
    return {
        "id": f"chunk/{number}",
        "document_id": f"doc {number % 3}",
        "text": f"Zeile {number} 🦊",
        "metadata": {"n": number, "lang": "de" if number % 2 else "en", "when": "2024-05-01T12:00:00+02:00"},
    }


def make(folder: Path) -> None:
    """Write the directory: a cosine library under ``ivf_flat`` with writes after its snapshot, and one under l2."""
    shutil.rmtree(folder, ignore_errors=True)
    # So that the journal has entries of either kind.
    SqliteJournal.__init__.__kwdefaults__["file_bytes"] = 1000
    matrix = vectors()
    with open_services(EngineSettings(data_dir=folder)) as services:
        libraries = services.libraries
        libraries.create({"id": "Cosine", "name": "c", "metadata": {"made": "for later"}}).result()
        libraries.create({"id": "l2", "name": "l", "metric": "l2"}).result()
        for number in range(3):
            libraries.create_document(
                "Cosine", {"id": f"doc {number}", "metadata": {"part": number}}
            ).result()
        first = [row(number) for number in range(250)]
        libraries.upsert_chunks("Cosine", first, vectors=matrix[:250]).result()
        job = services.indexing.start("Cosine", {"type": "ivf_flat", "params": {"n_lists": 4}})
        job.wait()
        rest = [row(number) for number in range(250, ROWS)]
        libraries.upsert_chunks("Cosine", rest, vectors=matrix[250:]).result()
        libraries.delete_chunks("Cosine", {"ids": ["chunk/7", "chunk/299"]}).result()
        libraries.patch_chunk("Cosine", "chunk/8", {"metadata": {"lang": None, "n": -8}}).result()
        libraries.create_chunk("l2", {"id": "only", "embedding": [1.0, 2.0]}).result()
    (folder / "_lock").unlink(missing_ok=True)


if __name__ == "__main__":
    make(Path(__file__).parent / sys.argv[1])
