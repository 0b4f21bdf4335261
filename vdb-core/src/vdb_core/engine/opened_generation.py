"""Opens a verified generation: its rows, mapped; its metadata index; and the index, or why there is none."""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING, cast

import numpy as np
import orjson

from vdb_core.engine.blocks import Block
from vdb_core.engine.chunk_ids import ChunkIds, PackedIdsMaker
from vdb_core.engine.documents import DocumentTable
from vdb_core.engine.memory import forget_pages
from vdb_core.engine.records import RecordFile
from vdb_core.engine.state import ActiveIndex, LibraryState, read_info
from vdb_core.errors import SnapshotDamaged
from vdb_core.filters import MetadataIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from vdb_core.engine.chunk_ids import PackedIds
    from vdb_core.persistence import StoredSnapshot
    from vdb_core.plugins import PluginManager

__all__ = ["id_pairs", "missing_type_warning", "open_generation"]

_log = logging.getLogger(__name__)
_PAIRS = 4_096


def open_generation(snapshot: StoredSnapshot, plugins: PluginManager) -> LibraryState:
    """Make a state of a verified generation."""
    header = snapshot.header
    try:
        info = read_info(header["library"])
        position = cast("int", header["journal_position"])
        base = _open_base(snapshot, with_norms=info["metric"] == "cosine")
        documents = DocumentTable(snapshot.rows("documents"))
        state = LibraryState(
            info=info,
            base=base,
            documents=documents,
            chunk_ids=ChunkIds(base),
            next_id=cast("int", header["next_id"]),
            journal_position=position,
            snapshot_position=position,
            snapshot_documents_version=0,
            base_generation=snapshot.generation,
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise SnapshotDamaged(f"its files contradict each other ({type(error).__name__}: {error})") from error
    _open_index(state, snapshot, plugins)
    return state


def _open_base(snapshot: StoredSnapshot, *, with_norms: bool) -> Block | None:
    ids = cast("NDArray[np.int64]", snapshot.array("ids"))
    names = _read_names(snapshot.rows("id_map"), ids)
    if not len(ids):
        return None
    vectors = cast("NDArray[np.float32]", snapshot.array("vectors"))
    norms = cast("NDArray[np.float64]", snapshot.array("norms")) if with_norms else None
    records = RecordFile.open(snapshot.directory / "metadata.json")
    metadata = MetadataIndex.from_rows(snapshot.rows("meta_index"))
    lengths = {
        "vectors.npy": len(vectors),
        "metadata.json": len(records),
        "meta_index.json": metadata.rows,
        "norms.npy": len(ids) if norms is None else len(norms),
    }
    wrong = {name: length for name, length in lengths.items() if length != len(ids)}
    if wrong or vectors.dtype != np.float32 or vectors.ndim != 2:
        raise SnapshotDamaged(
            f"ids.npy has {len(ids)} rows, but {wrong or 'vectors.npy is not a float32 matrix'}"
        )
    return Block(
        vectors=vectors,
        norms=norms,
        ids=ids,
        names=names,
        records=records,
        metadata=metadata,
        rows=len(ids),
    )


def _open_index(state: LibraryState, snapshot: StoredSnapshot, plugins: PluginManager) -> None:
    """Load the saved index; where that fails, the library is searched exactly and says why."""
    if state.base is None:
        return
    name = state.info["index_type"]
    kind = plugins.index_types.get(name)
    if kind is None:
        state.warnings = (missing_type_warning(name),)
        return
    try:
        if not cast("dict[str, object]", snapshot.header["index"])["saved"]:
            raise SnapshotDamaged("the snapshot holds no index")
        params = kind.params.model_validate(state.info["index_params"])
        index = kind.load(
            snapshot.directory / "index", state.base.vectors, metric=state.info["metric"], params=params
        )
    except Exception as error:  # noqa: BLE001 - a broken plugin or a damaged index degrades the library, never loses it
        _log.warning("the index of library %r cannot be loaded: %s", state.info["id"], error)
        # Every answer will carry it: where the files lie is told in the log alone.
        why = str(error).replace(str(snapshot.directory), "snapshot")
        state.warnings = (
            f"the saved index of type {name!r} cannot be loaded ({why}): rebuilt now, exact until then",
        )
        return
    state.active = ActiveIndex(type=kind, params=params, index=index)
    forget_pages(state.base.vectors)


def id_pairs(base: Block) -> Iterator[bytes]:
    """Write what ``id_map.json`` holds: the id and the internal id of each row."""
    names = iter(base.chunk_ids())
    for begin in range(0, base.rows, _PAIRS):
        internal = base.ids[begin : begin + _PAIRS].tolist()
        yield from map(orjson.dumps, zip(islice(names, len(internal)), internal, strict=True))


def _read_names(pairs: Iterable[bytes], ids: NDArray[np.int64]) -> PackedIds:
    """Read what ``id_pairs`` wrote; raises ``ValueError`` where it does not name every row once, in their order."""
    names, row, rest = PackedIdsMaker(), 0, iter(pairs)
    # Parsed some thousand at a time: a call for each is most of what opening a library takes.
    while some := list(islice(rest, _PAIRS)):
        parsed = cast("list[tuple[object, object]]", orjson.loads(b"[%b]" % b",".join(some)))
        chunk_ids = [chunk_id for chunk_id, _ in parsed]
        internal = [number for _, number in parsed]
        if (
            not all(isinstance(one, str) for one in chunk_ids)
            or internal != ids[row : row + len(parsed)].tolist()
        ):
            raise ValueError(
                f"id_map.json does not name the rows of ids.npy from row {row} on, in their order"
            )
        names.add(cast("list[str]", chunk_ids))
        row += len(parsed)
    if row != len(ids):
        raise ValueError(f"id_map.json names {row} chunks; expected {len(ids)}")
    return names.make()


def missing_type_warning(name: str) -> str:
    """What a library says whose index type is not installed."""
    return f"index type {name!r} is not installed or is disabled; searched exactly instead"
