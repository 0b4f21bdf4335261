"""Queries: validate, search under the read lock, answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast, final

import numpy as np

from vdb_core.domain import check_matrix
from vdb_core.engine.costs import Stopwatch
from vdb_core.engine.embedders import Embedded
from vdb_core.engine.search import Plan, Request, find, is_filter_known, plan
from vdb_core.errors import Fault, LibraryNotFound, ValidationFailed
from vdb_core.filters import parse_filter
from vdb_core.services.checks import is_mapping, known_fields, object_of, raise_faults, text_fault
from vdb_core.services.hits import hits_of, read_records
from vdb_core.services.known_params import KnownParams
from vdb_core.services.results import SearchAnswer, WouldBlock
from vdb_core.services.rows import FLOAT_TYPES, prepare_query, stored_form
from vdb_core.services.texts import embedding_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from pydantic import BaseModel

    from vdb_core.engine.core import Engine
    from vdb_core.engine.state import LibraryState
    from vdb_core.filters import Filter
    from vdb_core.repository import Entry
    from vdb_core.services.texts import Embed

__all__ = ["QUERY_FIELDS", "QueryService"]

QUERY_FIELDS: Final = (
    "embedding",
    "embedding_b64",
    "text",
    "k",
    "filter",
    "params",
    "include",
    "min_score",
    "explain",
)
_KNOWN_FIELDS: Final = frozenset(QUERY_FIELDS)
_INCLUDABLE: Final = ("text", "metadata", "embedding")
_DEFAULT_INCLUDE: Final = ("text", "metadata")
_INLINE_S: Final = 0.001
"""A search that takes longer is not made without waiting: whoever asks so has others to serve meanwhile."""
_NUMBER_S: Final = 0.25e-9
"""What reading a number takes at most, for a kind of search that nobody made yet: it may have to read them all."""
_HIT_S: Final = 4e-6
_SHOWN_NUMBER_S: Final = 0.1e-6
"""What a hit, and a number of an embedding that is shown, take to read and to write out."""
_FILTERED_ROW_S: Final = 20e-9
"""What a filter takes a row, where none was tried yet."""
_BATCH_ROWS: Final = 1_024
_NO_VECTOR: Final = np.empty((0, 0), dtype=np.float32)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Query:
    vector: NDArray[np.float32]
    k: int
    filter: Filter | None
    params: BaseModel | None
    params_text: str | None
    include: tuple[str, ...]
    min_score: float | None
    explain: bool
    warnings: list[str]


@final
class QueryService:
    """Finds the nearest chunks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known_params = KnownParams()

    def search(self, library_id: str, query: Mapping[str, object], *, wait: bool = True) -> SearchAnswer:
        """Answer one query.

        Args:
            library_id: the library.
            query: ``{embedding or embedding_b64 or text, k?, filter?, params?, include?, min_score?, explain?}``.
            wait: false raises ``WouldBlock`` instead of waiting for a lock or computing for long.
        """
        entry = self._entry(library_id, wait=wait)
        parsed = self._parse(entry, query, "", self._embedding_for(entry, embed=wait))
        return self._answer(entry, parsed.vector, parsed, wait=wait, threads=1)[0]

    def search_batch(
        self, library_id: str, queries: Sequence[Mapping[str, object]], *, embed: bool = True
    ) -> list[SearchAnswer]:
        """Answer several queries, each with its own k, filter and parameters, in one consistent state each.

        Where ``embed`` is false and there are texts to embed, raises ``WouldBlock`` instead.
        """
        limit = self._engine.settings.limits.max_batch_rows
        if not isinstance(queries, (list, tuple)):
            raise ValidationFailed.at(
                "/queries", f"expected a list of queries; received {type(queries).__name__}"
            )
        if len(queries) > limit:
            raise ValidationFailed.at(
                "/queries", f"expected at most {limit} queries (max_batch_rows); received {len(queries)}"
            )
        entry = self._entry(library_id, wait=True)
        parsed: list[_Query] = []
        faults: list[Fault] = []
        together = self._embedded_together(entry, queries, embed=embed)
        for at, query in enumerate(queries):
            try:
                parsed.append(self._parse(entry, query, f"/queries/{at}", together))
            except ValidationFailed as error:
                faults.extend(error.faults)
        raise_faults(faults)
        groups: dict[object, list[int]] = {}
        for at, one in enumerate(parsed):
            key = (
                one.k,
                one.filter,
                one.params_text,
                one.include,
                one.min_score,
                one.explain,
                one.vector.shape[1],
                tuple(one.warnings),
            )
            groups.setdefault(key, []).append(at)
        answers: dict[int, SearchAnswer] = {}
        for members in groups.values():
            matrix = np.concatenate([parsed[at].vector for at in members])
            found = self._answer(
                entry, matrix, parsed[members[0]], wait=True, threads=self._engine.search_threads
            )
            answers.update(zip(members, found, strict=True))
        return [answers[at] for at in range(len(parsed))]

    def search_matrix(
        self,
        library_id: str,
        matrix: NDArray[np.generic],
        *,
        k: int = 10,
        filter: object = None,  # noqa: A002 - the word of the REST contract
        params: object = None,
        include: Sequence[str] = (),
        min_score: float | None = None,
        explain: bool = False,
    ) -> list[SearchAnswer]:
        """Answer a matrix of queries, float32 or float16 ``[q, dim]``, with the same options for all."""
        entry = self._entry(library_id, wait=True)
        info = cast("LibraryState", entry.state).info
        if matrix.ndim != 2 or matrix.dtype.str not in FLOAT_TYPES:
            raise ValidationFailed.at(
                "", f"expected float32 or float16 [q, dim]; received {matrix.dtype} {list(matrix.shape)}"
            )
        limit = self._engine.settings.limits.max_batch_rows
        if len(matrix) > limit:
            raise ValidationFailed.at(
                "", f"expected at most {limit} queries (max_batch_rows); received {len(matrix)}"
            )
        rest: dict[str, object] = {"k": k, "include": list(include)}
        if filter is not None:
            rest["filter"] = filter
        if params is not None:
            rest["params"] = params
        if min_score is not None:
            rest["min_score"] = min_score
        if explain:
            rest["explain"] = True
        query = self._options(entry, rest, "", _NO_VECTOR, [], [])
        if not len(matrix):
            return []
        raise_faults(
            check_matrix(
                cast("NDArray[np.floating]", matrix),
                dimension=info["dimension"],
                metric=info["metric"],
                pointers=lambda row: f"/{row}",
            )
        )
        vectors = stored_form(np.ascontiguousarray(matrix, dtype=np.float32), info["metric"])[0]
        return self._answer(entry, vectors, query, wait=True, threads=self._engine.search_threads)

    def _entry(self, library_id: str, *, wait: bool) -> Entry:
        repository = self._engine.repository
        if not wait and not repository.is_loaded(library_id):
            raise WouldBlock("The library has to be read from disk first.")
        return repository.get(library_id)

    def _embedding_for(self, entry: Entry, *, embed: bool = True) -> Embed:
        return embedding_for(self._engine, cast("LibraryState", entry.state), embed=embed)

    def _embedded_together(self, entry: Entry, queries: Sequence[object], *, embed: bool) -> Embed:
        """Embed the texts of all queries at once; what comes back hands them out one by one, faults included."""
        one_by_one = self._embedding_for(entry, embed=embed)
        limits = self._engine.settings.limits
        texts: dict[str, int] = {}
        for query in queries:
            text = query.get("text") if is_mapping(query) else None
            if (
                isinstance(text, str)
                and text.strip()
                and not text_fault(text, "", max_bytes=limits.max_text_bytes)
            ):
                texts.setdefault(text, len(texts))
        if len(texts) < 2:
            return one_by_one
        try:
            made = one_by_one(list(texts))
        except ValidationFailed:
            # Each query is told of it in its place.
            return one_by_one

        def known(asked: Sequence[str]) -> Embedded:
            at = texts[asked[0]]
            unread = {0: made.unread[at]} if at in made.unread else {}
            return Embedded(name=made.name, matrix=made.matrix[at : at + 1], unread=unread)

        return known

    def _parse(self, entry: Entry, query: object, pointer: str, embed: Embed) -> _Query:
        """Check a query; raises ``ValidationFailed`` with every fault of it."""
        body = object_of(query, pointer)
        info = cast("LibraryState", entry.state).info
        faults: list[Fault] = []
        warnings: list[str] = []
        vector = _NO_VECTOR
        try:
            vector, warnings = prepare_query(
                body,
                pointer=pointer,
                metric=info["metric"],
                dimension=info["dimension"],
                limits=self._engine.settings.limits,
                embed=embed,
            )
        except ValidationFailed as error:
            faults.extend(error.faults)
        return self._options(entry, body, pointer, vector, faults, warnings)

    def _options(
        self,
        entry: Entry,
        body: Mapping[str, object],
        pointer: str,
        vector: NDArray[np.float32],
        faults: list[Fault],
        warnings: list[str],
    ) -> _Query:
        """Check everything but the vector; raises with these faults and those that were found before."""
        limits = self._engine.settings.limits
        if not body.keys() <= _KNOWN_FIELDS:
            faults.extend(known_fields(body, QUERY_FIELDS, pointer))
        k = body.get("k", 10)
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= limits.max_k:
            faults.append(
                Fault(
                    f"{pointer}/k",
                    f"expected a whole number from 1 to {limits.max_k} (max_k); received {k!r}",
                )
            )
        include = _include(body.get("include", _DEFAULT_INCLUDE), f"{pointer}/include", faults)
        min_score = body.get("min_score")
        if min_score is not None and (isinstance(min_score, bool) or not isinstance(min_score, (int, float))):
            faults.append(Fault(f"{pointer}/min_score", f"expected a number; received {min_score!r}"))
        explain = body.get("explain", False)
        if not isinstance(explain, bool):
            faults.append(Fault(f"{pointer}/explain", f"expected true or false; received {explain!r}"))
        wanted = None
        params: BaseModel | None = None
        params_text: str | None = None
        try:
            if body.get("filter") is not None:
                wanted = parse_filter(
                    body["filter"],
                    pointer=f"{pointer}/filter",
                    max_depth=limits.max_filter_depth,
                    max_nodes=limits.max_filter_nodes,
                )
        except ValidationFailed as error:
            faults.extend(error.faults)
        try:
            if body.get("params") is not None:
                state = cast("LibraryState", entry.state)
                params, params_text = self._params(state, body["params"], f"{pointer}/params")
        except ValidationFailed as error:
            faults.extend(error.faults)
        raise_faults(faults)
        return _Query(
            vector=vector,
            k=cast("int", k),
            filter=None if wanted is None or wanted.matches_everything else wanted,
            params=params,
            params_text=params_text,
            include=include,
            min_score=cast("float | None", min_score),
            explain=explain is True,
            warnings=warnings,
        )

    def _params(
        self, state: LibraryState, given: object, pointer: str
    ) -> tuple[BaseModel | None, str | None]:
        """Search parameters for the index that serves now, or that will once there is something to index; as text too."""
        active = state.active
        kind = (
            active.type
            if active is not None
            else self._engine.plugins.index_types.get(state.info["index_type"])
        )
        if kind is None:
            # The type is not installed: its parameters cannot be checked, and the answer carries the warning.
            return None, None
        return self._known_params.read(kind.search_params, given, pointer)

    def _answer(
        self, entry: Entry, vectors: NDArray[np.float32], query: _Query, *, wait: bool, threads: int
    ) -> list[SearchAnswer]:
        state = cast("LibraryState", entry.state)
        answers: list[SearchAnswer] = []
        for begin in range(0, len(vectors), _BATCH_ROWS):
            part = vectors[begin : begin + _BATCH_ROWS]
            started = time.perf_counter()
            if not entry.lock.acquire_read(blocking=wait):
                raise WouldBlock("The library is being written to.")
            try:
                if state.removed:
                    raise LibraryNotFound(f"No library has the id {entry.id!r}.")
                answers.extend(self._search(state, part, query, started, threads, wait=wait))
            finally:
                entry.lock.release_read()
        return answers

    def _plan(self, state: LibraryState, request: Request, query: _Query, *, wait: bool) -> Plan:
        """Plan a search; without ``wait`` raises ``WouldBlock`` where it is going to take long, planning included."""
        wanted = request.filter
        if wanted is None or is_filter_known(state, wanted):
            planned = plan(state, request)
        else:
            rows = sum(block.rows for block in state.blocks())
            expected = state.costs.expected("filter")
            if not wait and (rows * _FILTERED_ROW_S if expected is None else expected) > _INLINE_S:
                raise WouldBlock("The filter is new, and going through the rows takes long.")
            watch = Stopwatch()
            planned = plan(state, request)
            state.costs.learn("filter", watch.seconds())
        if not wait:
            expected = state.costs.expected(planned.kind)
            if expected is None:
                expected = planned.numbers * _NUMBER_S
            shown = _HIT_S
            if "embedding" in query.include:
                shown += _SHOWN_NUMBER_S * query.vector.shape[1]
            if expected + shown * min(request.k, planned.matches) > _INLINE_S:
                raise WouldBlock("The search takes long.")
        return planned

    def _search(
        self,
        state: LibraryState,
        vectors: NDArray[np.float32],
        query: _Query,
        started: float,
        threads: int,
        *,
        wait: bool,
    ) -> list[SearchAnswer]:
        active = state.active
        params = query.params
        if params is not None and active is not None and not isinstance(params, active.type.search_params):
            # The index was swapped for one of another type between the check and the lock.
            raise ValidationFailed.at("/params", f"the active index is now of type {active.type.name!r}")
        request = Request(
            k=query.k, filter=query.filter, params=params, params_text=query.params_text, threads=threads
        )
        planned = self._plan(state, request, query, wait=wait)
        watch = Stopwatch(state.costs.expected(planned.kind))
        found = find(state, self._engine.kernel, vectors, request, planned)
        searched = time.perf_counter()
        if len(vectors) == 1 and threads == 1:
            state.costs.learn(planned.kind, watch.seconds())
        index: dict[str, object] = {
            "type": active.type.name if active is not None else self._serving(state),
            "exact": found.exact,
        }
        warnings = [*state.warnings, *found.warnings, *query.warnings]
        explain: dict[str, object] | None = None
        if query.explain:
            explain = {
                "route": found.route,
                "matches": found.matches,
                "base_rows": 0 if state.base is None else state.base.rows,
                "delta_rows": state.delta_rows,
                "dead_rows": state.dead_rows,
                "segments": len(state.delta),
                "search_ms": round(1000.0 * (searched - started), 4),
            }
        known = read_records(found) if len(vectors) > 1 else None
        every = [
            hits_of(state, found, at, include=query.include, min_score=query.min_score, known=known)
            for at in range(len(vectors))
        ]
        took = round(1000.0 * (time.perf_counter() - started), 4)
        revision = state.info["revision"]
        return [
            SearchAnswer(
                hits=hits,
                index=index,
                revision=revision,
                warnings=warnings,
                took_ms=took,
                explain=None if explain is None else explain.copy(),
                route=found.route,
            )
            for hits in every
        ]

    def _serving(self, state: LibraryState) -> str:
        """The type that serves while there is no index over the base."""
        if state.base is None and not state.warnings:
            return state.info["index_type"]
        return self._engine.kernel.name


def _include(value: object, pointer: str, faults: list[Fault]) -> tuple[str, ...]:
    """What a hit shows; adds to the faults where that is not acceptable."""
    if not isinstance(value, (list, tuple)):
        faults.append(Fault(pointer, f"expected a list; received {type(value).__name__}"))
        return ()
    chosen = cast("Sequence[object]", value)
    faults.extend(
        Fault(f"{pointer}/{at}", f"unknown value {one!r}; known: {', '.join(_INCLUDABLE)}")
        for at, one in enumerate(chosen)
        if one not in _INCLUDABLE
    )
    return tuple(cast("Sequence[str]", chosen))
