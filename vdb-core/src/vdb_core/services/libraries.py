"""Libraries: create, read, rename, delete, export, import."""

from __future__ import annotations

from bisect import bisect_right
from concurrent.futures import Future
from contextvars import copy_context
from typing import TYPE_CHECKING, Final, cast, final

from vdb_core.domain import (
    IndexChoice,
    Library,
    check_library_id,
    format_time,
    merge_patch,
    new_id,
    now_us,
    parse_time,
    to_datetime,
)
from vdb_core.engine.committer import Plan
from vdb_core.engine.operations import PutLibrary, RemoveLibrary
from vdb_core.engine.overlay import NeedsPublishError
from vdb_core.engine.state import LibraryInfo
from vdb_core.errors import (
    AlreadyExists,
    Fault,
    LibraryNotFound,
    OperatorError,
    SnapshotDamaged,
    ValidationFailed,
    VdbError,
)
from vdb_core.indexes import METRICS
from vdb_core.plugins import validate_params
from vdb_core.services.checks import (
    check_if_match,
    is_mapping,
    known_fields,
    object_of,
    raise_faults,
    text_fault,
)
from vdb_core.services.chunks import ChunkOperations
from vdb_core.services.paging import check_limit, decode_cursor, encode_cursor
from vdb_core.services.results import Page
from vdb_core.services.texts import embedder_faults
from vdb_core.services.transfer import DERIVED, PreparedImport, export_of, keep_stamps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vdb_core.engine.overlay import Overlay
    from vdb_core.engine.state import LibraryState
    from vdb_core.indexes import Metric
    from vdb_core.services.results import Export
    from vdb_core.services.transfer import Imported

__all__ = ["LibraryService"]

_CREATE: Final = ("id", "name", "metric", "dimension", "index", "metadata", "embedder")
_MAX_NAME_BYTES: Final = 1_024


def library_of(state: LibraryState) -> Library:
    """Make the entity of a state. Call under the read lock, or on the committer's thread."""
    return _library(state.info, documents=len(state.documents), chunks=state.live)


def _library(info: LibraryInfo, *, documents: int = 0, chunks: int = 0) -> Library:
    return Library(
        id=info["id"],
        name=info["name"],
        metric=info["metric"],
        dimension=info["dimension"],
        index=IndexChoice(type=info["index_type"], params=dict(info["index_params"])),
        metadata=dict(info["metadata"]),
        embedder=info["embedder"],
        revision=info["revision"],
        created_at=to_datetime(parse_time(info["created_at"])),
        updated_at=to_datetime(parse_time(info["updated_at"])),
        documents=documents,
        chunks=chunks,
    )


@final
class LibraryService(ChunkOperations):
    """Libraries and what is in them. Reads answer at once; writes answer through a future, once they are durable."""

    def create(self, body: Mapping[str, object]) -> Future[Library]:
        """Create a library: ``{id?, name, metric?=cosine, dimension?, index?={"type", "params"}, metadata?, embedder?}``.

        An embedder that is named is opened, which may take long, and gives the library its dimension.

        Raises:
            ValidationFailed: the body is not acceptable.
            AlreadyExists: (in the future) the id is taken, without regard to case.
        """
        info = self._new_info(object_of(body))
        return self._engine.committer.submit(info["id"], lambda overlay: self._plan_create(overlay, info))

    def _new_info(
        self, body: Mapping[str, object], *, known_index_type: bool = True, known_embedder: bool = True
    ) -> LibraryInfo:
        faults = known_fields(body, _CREATE, "")
        library_id = body["id"] if "id" in body else new_id()
        faults.extend(check_library_id(library_id, "/id"))
        if "name" not in body:
            faults.append(Fault("/name", "expected a name; it is missing"))
        else:
            faults.extend(self._name_faults(body["name"]))
        metric = body.get("metric", "cosine")
        if metric not in METRICS:
            faults.append(Fault("/metric", f"expected one of {', '.join(METRICS)}; received {metric!r}"))
        dimension = body.get("dimension")
        top = self._engine.settings.limits.max_dimension
        if dimension is not None and (
            not isinstance(dimension, int) or isinstance(dimension, bool) or not 1 <= dimension <= top
        ):
            faults.append(
                Fault(
                    "/dimension",
                    f"expected a whole number from 1 to {top} (max_dimension); received {dimension!r}",
                )
            )
        metadata = body.get("metadata", {})
        faults.extend(self._metadata_faults(metadata, "/metadata"))
        index = body.get("index", {})
        index_type: object = self._engine.default_index_type()
        index_params: object = {}
        if not is_mapping(index):
            faults.append(Fault("/index", f"expected an object; received {type(index).__name__}"))
        else:
            faults.extend(known_fields(index, ("type", "params"), "/index"))
            index_type = index.get("type", index_type)
            index_params = index.get("params", {})
            here = isinstance(index_type, str) and index_type in self._engine.plugins.index_types
            if known_index_type or here:
                faults.extend(self.index_faults(index_type, index_params, metric, "/index"))
            else:
                faults.extend(_missing_index_faults(index_type, index_params))
        embedder = body.get("embedder")
        if embedder is not None:
            faults.extend(text_fault(embedder, "/embedder", max_bytes=_MAX_NAME_BYTES))
        raise_faults(faults)
        if isinstance(embedder, str) and known_embedder:
            # What is imported has its embeddings: it is searchable by them where its embedder is not installed.
            raise_faults(embedder_faults(self._engine, embedder, cast("int | None", dimension), "/embedder"))
            dimension = self._engine.embedders.dimension(embedder)
        now = format_time(now_us())
        return LibraryInfo(
            id=cast("str", library_id),
            name=cast("str", body["name"]),
            metric=cast("Metric", metric),
            dimension=cast("int | None", dimension),
            index_type=cast("str", index_type),
            index_params=dict(cast("Mapping[str, object]", index_params)),
            metadata=dict(cast("Mapping[str, object]", metadata)),
            embedder=cast("str | None", embedder),
            revision=1,
            created_at=now,
            updated_at=now,
        )

    def _name_faults(self, name: object) -> list[Fault]:
        if name == "":
            return [Fault("/name", "expected a name; received an empty string")]
        return text_fault(name, "/name", max_bytes=_MAX_NAME_BYTES)

    def index_faults(self, index_type: object, params: object, metric: object, pointer: str) -> list[Fault]:
        """What is wrong with a choice of index: its type, whether it serves the metric, each parameter."""
        known = self._engine.plugins.index_types
        if not isinstance(index_type, str):
            return [Fault(f"{pointer}/type", f"expected a string; received {type(index_type).__name__}")]
        kind = known.get(index_type)
        if kind is None:
            available = ", ".join(sorted(known))
            return [Fault(f"{pointer}/type", f"No index type named {index_type!r}. Available: {available}")]
        if metric in METRICS and metric not in kind.metrics:
            served = ", ".join(sorted(kind.metrics))
            return [
                Fault(
                    f"{pointer}/type",
                    f"{index_type!r} does not serve the metric {metric!r}; it serves {served}",
                )
            ]
        try:
            _ = validate_params(kind.params, params, f"{pointer}/params")
        except ValidationFailed as error:
            return list(error.faults)
        return []

    def _plan_create(self, overlay: Overlay, info: LibraryInfo) -> Plan[Library]:
        if overlay.deleted:
            raise NeedsPublishError  # its id is free once the deletion is published
        if overlay.exists or self._engine.repository.taken(info["id"]):
            raise AlreadyExists(
                f"A library with the id {info['id']!r} exists already (case makes no difference).",
                faults=[Fault("/id", "this id is taken")],
            )
        made = _library(info)
        return Plan([PutLibrary(info=info, created=True)], lambda: made)

    def get(self, library_id: str) -> Library:
        """Read a library; raises ``LibraryNotFound``."""
        entry = self._engine.entry(library_id)
        with entry.lock.read():
            return library_of(entry.readable())

    def list(self, *, limit: int = 100, cursor: str | None = None) -> Page[Library]:
        """List libraries in the order of their ids."""
        limit = check_limit(limit)
        after = decode_cursor("libraries", cursor, str)
        ids = self._engine.repository.ids()
        begin = 0 if after is None else bisect_right(ids, cast("str", after))
        chosen = ids[begin : begin + limit]
        items: list[Library] = []
        for one in chosen:
            try:
                items.append(self.get(one))
            except (LibraryNotFound, OperatorError):
                continue  # deleted since the ids were read, or named by the health report
        more = begin + limit < len(ids)
        return Page(items=items, next_cursor=encode_cursor("libraries", chosen[-1]) if more else None)

    def patch(
        self, library_id: str, body: Mapping[str, object], *, if_match: int | None = None
    ) -> Future[Library]:
        """Change a library by a JSON merge patch: ``{name?, metadata?, embedder?}``.

        The embedder can be chosen where there is none, and changed as long as no row was written.
        """
        body = object_of(body)
        info = cast("LibraryState", self._engine.entry(library_id).state).info
        faults = known_fields(body, ("name", "metadata", "embedder"), "")
        if "name" in body:
            faults.extend(self._name_faults(body["name"]))
        patch = body.get("metadata", {})
        if not (patch is None or is_mapping(patch)):
            faults.append(Fault("/metadata", f"expected an object; received {type(patch).__name__}"))
        dimension: int | None = None
        embedder = body.get("embedder")
        if embedder is not None and not isinstance(embedder, str):
            faults.append(Fault("/embedder", f"expected a name; received {type(embedder).__name__}"))
        raise_faults(faults)
        if isinstance(embedder, str) and embedder != info["embedder"]:
            raise_faults(embedder_faults(self._engine, embedder, info["dimension"], "/embedder"))
            dimension = self._engine.embedders.dimension(embedder)

        def prepare(overlay: Overlay) -> Plan[Library]:
            old = overlay.info
            check_if_match(if_match, old["revision"], f"Library {library_id!r}")
            state = overlay.published
            # RFC 7396: null for the member removes it, which leaves the empty object.
            metadata = (
                {} if patch is None else merge_patch(old["metadata"], cast("Mapping[str, object]", patch))
            )
            raise_faults(self._metadata_faults(metadata, "/metadata"))
            info = old.copy()
            info["metadata"] = metadata
            info["name"] = cast("str", body.get("name", old["name"]))
            if "embedder" in body and embedder != old["embedder"]:
                raise_faults(_change_faults(overlay, dimension))
                info["embedder"] = cast("str | None", embedder)
                info["dimension"] = old["dimension"] or dimension
            info["revision"] = old["revision"] + 1
            info["updated_at"] = format_time(now_us())
            made = _library(info, documents=len(state.documents), chunks=state.live)
            return Plan([PutLibrary(info=info)], lambda: made)

        return self._engine.committer.submit(library_id, prepare)

    def delete(self, library_id: str, *, if_match: int | None = None) -> Future[int | None]:
        """Delete a library and all that is in it; a build of it is cancelled first.

        A library that is damaged beyond opening can be deleted too.

        Returns:
            How many chunks were in it, when that is done; none where that cannot be told any more.
        """
        try:
            entry = self._engine.entry(library_id)
        except SnapshotDamaged:
            repository = self._engine.repository
            return self._engine.committer.call(lambda: repository.discard(library_id))
        state = cast("LibraryState", entry.state)
        check_if_match(if_match, state.info["revision"], f"Library {library_id!r}")
        with entry.build_lock:
            entry.closing = True
            building = entry.building
        done: Future[int | None] = Future()

        def prepare(overlay: Overlay) -> Plan[int]:
            check_if_match(if_match, overlay.info["revision"], f"Library {library_id!r}")
            chunks = overlay.published.live
            return Plan([RemoveLibrary()], lambda: chunks)

        def finish(write: Future[int]) -> None:
            error = write.exception()
            if error is None:
                done.set_result(write.result())
                return
            if not isinstance(error, LibraryNotFound):
                # Somebody else deleted it: what is left of it must never be built.
                with entry.build_lock:
                    entry.closing = False
            done.set_exception(error)

        def submit(_: object = None) -> None:
            # Files of a build that still ran could end up in a library of the same id made later.
            try:
                self._engine.committer.submit(library_id, prepare).add_done_callback(finish)
            except VdbError as error:
                with entry.build_lock:
                    entry.closing = False
                done.set_exception(error)

        if building is None:
            submit()
        else:
            job = self._engine.jobs.get(building)
            job.cancel()
            # The write is to be remembered as whose it is, also by the thread that ends the build.
            context = copy_context()
            job.add_done_callback(lambda _: context.run(submit))
        return done

    def export(self, library_id: str) -> Export:
        """Take a consistent view of a library that can be read while writes go on."""
        entry = self._engine.entry(library_id)
        with entry.lock.read():
            state = entry.readable()
            view = state.view()
            library = library_of(state).to_json()
        return export_of(view, library)

    def import_library(self, imported: Imported) -> Future[Library]:
        """Create a library with everything in it, as one write.

        Raises:
            ValidationFailed: something in it is not acceptable.
            AlreadyExists: (in the future) the id is taken, without regard to case.
            DocumentNotFound: (in the future) a chunk names a document that is not in it.
        """
        library = {key: imported.library[key] for key in imported.library if key not in DERIVED}
        info = self._new_info(library, known_index_type=imported.kept is None, known_embedder=False)
        if imported.kept is not None:
            keep_stamps(info, imported.library)
        ready = PreparedImport(
            imported, info, limits=self._engine.settings.limits, metadata_faults=self._metadata_faults
        )

        def prepare(overlay: Overlay) -> Plan[Library]:
            plan = self._plan_create(overlay, info)
            fresh = type(overlay)(info["id"], None)
            more = ready.operations(fresh)
            made = _library(fresh.info, documents=len(imported.documents), chunks=len(imported.chunks))
            return Plan([*plan.operations, *more], lambda: made)

        return self._engine.committer.submit(info["id"], prepare, size=ready.nbytes)


def _missing_index_faults(index_type: object, params: object) -> list[Fault]:
    """What is wrong with the index of an exported library whose type is not installed here: it is kept all the same."""
    faults = text_fault(index_type, "/index/type", max_bytes=_MAX_NAME_BYTES)
    if not is_mapping(params):
        faults.append(Fault("/index/params", f"expected an object; received {type(params).__name__}"))
    return faults


def _change_faults(overlay: Overlay, dimension: int | None) -> list[Fault]:
    """Why a library cannot have another embedder now."""
    old = overlay.info
    if old["embedder"] is not None and overlay.next_id > 1:
        return [
            Fault(
                "/embedder",
                f"the library's embeddings are those of {old['embedder']!r}, and two embedders make numbers that cannot "
                "be compared; make a new library for another one",
            )
        ]
    if dimension is not None and old["dimension"] not in (None, dimension):
        return [Fault("/embedder", f"it makes {dimension} numbers, and the library has {old['dimension']}")]
    return []
