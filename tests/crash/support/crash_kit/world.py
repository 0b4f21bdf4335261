"""What should be there: a model of libraries in plain dictionaries, which every step of a workload is applied to as well.

A world is what :func:`dump` reads from an engine: each library with its documents and chunks, embeddings as the
hexadecimal digits of their bits, revisions and times included. A time that nobody was told yet is none, and equals any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vdb_core.errors import ChunkNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vdb_core.services import Services

__all__ = ["DamagedError", "World", "apply", "check_answers", "differences", "dump"]

World = dict[str, dict[str, Any]]
_TIMES = frozenset({"created_at", "updated_at"})


class DamagedError(AssertionError):
    """An engine says that it holds libraries that cannot be opened."""


def apply(world: World, step: Mapping[str, Any], time: str | None = None) -> World | None:
    """The world after a step; none where the step is not valid in it.

    Args:
        world: left as it is.
        step: see ``workload``.
        time: when it happened, none where that was not told.
    """
    name, kind = step["library"], step["do"]
    if kind == "create":
        if name in world:
            return None
        body = step["body"]
        fresh: dict[str, Any] = {
            "name": body["name"],
            "metric": body["metric"],
            "dimension": body.get("dimension"),
            "index": body["index"]["type"],
            "metadata": body.get("metadata", {}),
            "revision": 1,
            "created_at": time,
            "updated_at": time,
            "documents": {},
            "chunks": {},
        }
        return {**world, name: fresh}
    if name not in world:
        return None
    if kind == "delete_library":
        return {one: library for one, library in world.items() if one != name}
    # Documents and chunks are replaced, never changed: a copy of the tables is enough.
    library = {
        **world[name],
        "documents": dict(world[name]["documents"]),
        "chunks": dict(world[name]["chunks"]),
    }
    if kind == "build":
        library["index"] = step["type"]
        return {**world, name: library}
    if kind == "snapshot":
        return world
    library["revision"] += 1
    library["updated_at"] = time
    stamp = {"revision": library["revision"], "created_at": time, "updated_at": time}
    if not _WRITES[kind](library, step, stamp):
        return None
    return {**world, name: library}


def _upsert(library: dict[str, Any], step: Mapping[str, Any], stamp: dict[str, Any]) -> bool:
    chunks, documents = library["chunks"], library["documents"]
    for row in step["rows"]:
        document = row.get("document_id")
        if document is not None and document not in documents:
            if not step.get("create_documents"):
                return False
            documents[document] = {"metadata": {}, **stamp}
        if step["do"] == "create_chunk" and row["id"] in chunks:
            return False
        old = chunks.pop(row["id"], None)
        chunks[row["id"]] = {
            "document_id": document,
            "text": row.get("text"),
            "metadata": row.get("metadata", {}),
            "embedding": _bits(library["metric"], row["embedding"]),
            **stamp,
            **({} if old is None else {"created_at": old["created_at"]}),
        }
        if library["dimension"] not in {None, len(row["embedding"])}:
            return False
        library["dimension"] = len(row["embedding"])
    return True


def _bits(metric: str, embedding: list[float]) -> str:
    """The bits that come back: under cosine those of the unit row, stretched to its length again."""
    row = np.array(embedding, dtype=np.float32)
    if metric == "cosine":
        wide = row.astype(np.float64)
        length = np.sqrt(wide @ wide)
        row = ((wide / length).astype(np.float32).astype(np.float64) * length).astype(np.float32)
    return row.tobytes().hex()


def _patch_chunk(library: dict[str, Any], step: Mapping[str, Any], stamp: dict[str, Any]) -> bool:
    old = library["chunks"].pop(step["id"], None)
    if old is None:
        return False
    body = step["body"]
    fresh = {**old, **{key: body[key] for key in ("text", "document_id") if key in body}}
    fresh["metadata"] = {**old["metadata"], **body.get("metadata", {})}
    if "embedding" in body:
        fresh["embedding"] = _bits(library["metric"], body["embedding"])
    library["chunks"][step["id"]] = {**fresh, **stamp, "created_at": old["created_at"]}
    return True


def _delete(library: dict[str, Any], step: Mapping[str, Any], _: dict[str, Any]) -> bool:
    chunks = library["chunks"]
    match step["do"]:
        case "delete_chunk":
            gone = [step["id"]] if step["id"] in chunks else []
        case "delete_document":
            if library["documents"].pop(step["id"], None) is None:
                return False
            gone = [one for one, chunk in chunks.items() if chunk["document_id"] == step["id"]]
            library["chunks"] = {one: chunk for one, chunk in chunks.items() if one not in gone}
            return True
        case _:
            gone = [one for one, chunk in chunks.items() if chunk["metadata"].get("n", 0) >= step["from"]]
    for one in gone:
        del chunks[one]
    return bool(gone)


def _put_document(library: dict[str, Any], step: Mapping[str, Any], stamp: dict[str, Any]) -> bool:
    documents = library["documents"]
    old = documents.get(step["id"])
    if step["do"] == "create_document":
        if old is not None:
            return False
        documents[step["id"]] = {"metadata": step["metadata"], **stamp}
        return True
    if old is None:
        return False
    documents[step["id"]] = {
        "metadata": {**old["metadata"], **step["metadata"]},
        **stamp,
        "created_at": old["created_at"],
    }
    return True


def _patch_library(library: dict[str, Any], step: Mapping[str, Any], _: dict[str, Any]) -> bool:
    library["name"] = step["name"]
    return True


_WRITES = {
    "upsert": _upsert,
    "create_chunk": _upsert,
    "patch_chunk": _patch_chunk,
    "delete_chunk": _delete,
    "delete_filter": _delete,
    "delete_document": _delete,
    "create_document": _put_document,
    "patch_document": _put_document,
    "patch_library": _patch_library,
}


def dump(services: Services) -> World:
    """Read everything that an engine holds; raises where it cannot be read."""
    world: World = {}
    for library in services.libraries.list(limit=1000).items:
        head = library.to_json()
        chunks: dict[str, Any] = {}
        for chunk in services.libraries.list_chunks(library.id, limit=1000, include=["embedding"]).items:
            body = chunk.to_json()
            body["embedding"] = chunk.embedding.tobytes().hex()
            chunks[body.pop("id")] = body
        documents: dict[str, Any] = {}
        for document in services.libraries.list_documents(library.id, limit=1000).items:
            body = document.to_json()
            documents[body.pop("id")] = body
        if (len(chunks), len(documents)) != (head.pop("chunks"), head.pop("documents")):
            raise AssertionError(
                f"{library.id} says {library}, and lists {sorted(chunks)}, {sorted(documents)}"
            )
        head["index"] = library.index.type
        del head["id"]
        head.pop("embedder", None)  # these libraries are given embeddings
        world[library.id] = {**head, "documents": documents, "chunks": chunks}
    if damaged := services.health()["damaged_libraries"]:
        raise DamagedError(f"damaged libraries: {damaged}")
    return world


def differences(expected: Any, found: Any, where: str = "") -> str:
    """The first difference, or nothing; a time that is not known equals any."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if expected.keys() != found.keys():
            missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
            return f"{where or 'libraries'}: missing {missing}, not expected {extra}"
        for key, value in expected.items():
            if value == found[key] or (value is None and key in _TIMES):
                continue
            if told := differences(value, found[key], f"{where}/{key}"):
                return told
        return ""
    return "" if expected == found else f"{where}: expected {expected!r:.200}, found {found!r:.200}"


def check_answers(services: Services, world: World, *, thorough: bool = True) -> None:
    """Insist that get, count, filter and exact search agree with the rows there are."""
    for name, library in world.items():
        chunks = library["chunks"]
        for one in chunks if thorough else list(chunks)[:3]:
            found = services.libraries.get_chunk(name, one)
            assert found.embedding.tobytes().hex() == chunks[one]["embedding"], f"{name}/{one}"
            assert found.revision == chunks[one]["revision"], f"{name}/{one}"
        try:
            services.libraries.get_chunk(name, "never written")
        except ChunkNotFound:
            pass
        else:
            raise AssertionError(f"{name} has a chunk that nobody wrote")
        wanted = sorted(one for one, chunk in chunks.items() if chunk["metadata"].get("n", 0) >= 5)
        listed = services.libraries.list_chunks(name, limit=1000, filter={"n": {"$gte": 5}}).items
        assert sorted(chunk.id for chunk in listed) == wanted, f"{name}: a filter finds {listed}"
        if chunks:
            _check_search(services, name, library)


def _check_search(services: Services, name: str, library: dict[str, Any]) -> None:
    ids = list(library["chunks"])
    rows = np.array(
        [np.frombuffer(bytes.fromhex(library["chunks"][one]["embedding"]), dtype=np.float32) for one in ids]
    ).astype(np.float64)
    query = np.linspace(0.3, 1.7, rows.shape[1])
    if library["metric"] == "l2":
        distances = ((rows - query) ** 2).sum(axis=1)
    else:
        distances = -(rows @ query)
        if library["metric"] == "cosine":
            distances /= np.linalg.norm(rows, axis=1)
    nearest = [ids[at] for at in np.argsort(distances, kind="stable")[:5]]
    params = {"n_probes": 1 << 20} if library["index"].startswith("ivf") else {}
    answer = services.queries.search(name, {"embedding": query.tolist(), "k": 5, "params": params})
    assert [str(hit["id"]) for hit in answer.hits] == nearest, f"{name}: the nearest are not {nearest}"
    assert answer.revision == library["revision"], f"{name} answers with revision {answer.revision}"
