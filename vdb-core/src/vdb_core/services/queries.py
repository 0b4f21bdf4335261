"""Queries: validate, search under the read lock, answer."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final, cast, final

import numpy as np

from vdb_core.domain import check_matrix
from vdb_core.engine.costs import Stopwatch
from vdb_core.engine.embedders import Embedded
from vdb_core.engine.search import Plan, Request, find, is_filter_known, plan
from vdb_core.errors import Fault, LibraryNotFound, ValidationFailed
from vdb_core.services.checks import is_mapping, object_of, raise_faults, text_fault
from vdb_core.services.hits import hits_of, read_records
from vdb_core.services.known_queries import Frames, cut
from vdb_core.services.query_options import OptionsReader, QueryOptions
from vdb_core.services.results import SearchAnswer, WouldBlock
from vdb_core.services.rows import FLOAT_TYPES, prepare_query, stored_form
from vdb_core.services.texts import embedding_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from pydantic import BaseModel

    from vdb_core.engine.core import Engine
    from vdb_core.engine.state import LibraryState
    from vdb_core.repository import Entry
    from vdb_core.services.texts import Embed

__all__ = ["QueryService"]

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
_LATELY_S: Final = 0.25
"""So long after a query that could not wait further ones are expected."""
_NO_VECTOR: Final = np.empty((0, 0), dtype=np.float32)


@final
class QueryService:
    """Finds the nearest chunks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._options = OptionsReader(engine.settings.limits)
        self._frames: Frames[QueryOptions] = Frames()
        self._hurried_at = -math.inf

    def search(self, library_id: str, query: Mapping[str, object], *, wait: bool = True) -> SearchAnswer:
        """Answer one query.

        Args:
            library_id: the library.
            query: ``{embedding or embedding_b64 or text, k?, filter?, params?, include?, min_score?, explain?}``.
            wait: false raises ``WouldBlock`` instead of waiting for a lock or computing for long.
        """
        entry = self._entry(library_id, wait=wait)
        vector, options, warnings = self._parse(entry, query, "", self._embedding_for(entry, embed=wait))
        return self._answer(entry, vector, options, warnings, wait=wait, threads=1)[0]

    def search_text(
        self,
        library_id: str,
        text: bytes,
        parse: Callable[[bytes], Mapping[str, object]],
        *,
        wait: bool = True,
    ) -> SearchAnswer:
        """As ``search``, of a query as JSON text; where only its embedding is new, nothing else is read again.

        Args:
            library_id: the library.
            text: the query.
            parse: reads it; raises where it is not JSON, or no object.
            wait: as for ``search``.
        """
        entry = self._entry(library_id, wait=wait)
        state = cast("LibraryState", entry.state)
        model, pieces = self._params_model(state), cut(text)
        known = None if pieces is None else self._frames.get(model, pieces)
        dimension = state.info["dimension"]
        if known is not None and pieces is not None and dimension is not None:
            plain = pieces.row(self._engine.kernel.accelerator, dimension, state.info["metric"])
            if plain is not None:
                return self._answer(entry, plain, known, [], wait=wait, threads=1)[0]
        vector, options, warnings = self._parse(
            entry, parse(text), "", self._embedding_for(entry, embed=wait)
        )
        if known is None and pieces is not None:
            self._frames.keep(model, pieces, options)
        return self._answer(entry, vector, options, warnings, wait=wait, threads=1)[0]

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
        parsed: list[tuple[NDArray[np.float32], QueryOptions, list[str]]] = []
        faults: list[Fault] = []
        together = self._embedded_together(entry, queries, embed=embed)
        for at, query in enumerate(queries):
            try:
                parsed.append(self._parse(entry, query, f"/queries/{at}", together))
            except ValidationFailed as error:
                faults.extend(error.faults)
        raise_faults(faults)
        groups: dict[object, list[int]] = {}
        for at, (vector, options, warnings) in enumerate(parsed):
            groups.setdefault((options, vector.shape[1], tuple(warnings)), []).append(at)
        answers: dict[int, SearchAnswer] = {}
        for members in groups.values():
            matrix = np.concatenate([parsed[at][0] for at in members])
            _, options, warnings = parsed[members[0]]
            found = self._answer(entry, matrix, options, warnings, wait=True, threads=self._batch_threads())
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
        options = self._options.read(rest, "", self._params_model(cast("LibraryState", entry.state)), [])
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
        return self._answer(entry, vectors, options, [], wait=True, threads=self._batch_threads())

    def is_hurried(self) -> bool:
        """Whether a query that could not wait was answered a moment ago, so that further ones are to be expected."""
        return time.perf_counter() - self._hurried_at < _LATELY_S

    def _batch_threads(self) -> int:
        """Threads of a batch: as many as were set, else one for each core, but for the core that a hurried query needs."""
        engine = self._engine
        spare = engine.settings.search_threads is None and self.is_hurried()
        return max(1, engine.search_threads - spare)

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

    def _parse(
        self, entry: Entry, query: object, pointer: str, embed: Embed
    ) -> tuple[NDArray[np.float32], QueryOptions, list[str]]:
        """Check a query; gives its vector, its options and warnings. Raises ``ValidationFailed`` with every fault of it."""
        body = object_of(query, pointer)
        state = cast("LibraryState", entry.state)
        faults: list[Fault] = []
        warnings: list[str] = []
        vector = _NO_VECTOR
        try:
            vector, warnings = prepare_query(
                body,
                pointer=pointer,
                metric=state.info["metric"],
                dimension=state.info["dimension"],
                limits=self._engine.settings.limits,
                embed=embed,
                accelerator=self._engine.kernel.accelerator,
            )
        except ValidationFailed as error:
            faults.extend(error.faults)
        return vector, self._options.read(body, pointer, self._params_model(state), faults), warnings

    def _params_model(self, state: LibraryState) -> type[BaseModel] | None:
        """Search parameters of the index that serves now, or that will once there is something to index."""
        active = state.active
        kind = (
            active.type
            if active is not None
            else self._engine.plugins.index_types.get(state.info["index_type"])
        )
        return None if kind is None else kind.search_params

    def _answer(
        self,
        entry: Entry,
        vectors: NDArray[np.float32],
        options: QueryOptions,
        warnings: list[str],
        *,
        wait: bool,
        threads: int,
    ) -> list[SearchAnswer]:
        state = cast("LibraryState", entry.state)
        answers: list[SearchAnswer] = []
        for begin in range(0, len(vectors), _BATCH_ROWS):
            part = vectors[begin : begin + _BATCH_ROWS]
            started = time.perf_counter()
            if not wait:
                self._hurried_at = started
            if not entry.lock.acquire_read(blocking=wait):
                raise WouldBlock("The library is being written to.")
            try:
                if state.removed:
                    raise LibraryNotFound(f"No library has the id {entry.id!r}.")
                answers.extend(self._search(state, part, options, warnings, started, threads, wait=wait))
            finally:
                entry.lock.release_read()
        return answers

    def _plan(
        self, state: LibraryState, request: Request, options: QueryOptions, numbers: int, *, wait: bool
    ) -> Plan:
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
            if "embedding" in options.include:
                shown += _SHOWN_NUMBER_S * numbers
            if expected + shown * min(request.k, planned.matches) > _INLINE_S:
                raise WouldBlock("The search takes long.")
        return planned

    def _search(
        self,
        state: LibraryState,
        vectors: NDArray[np.float32],
        options: QueryOptions,
        warned: list[str],
        started: float,
        threads: int,
        *,
        wait: bool,
    ) -> list[SearchAnswer]:
        active = state.active
        params = options.params
        if params is not None and active is not None and not isinstance(params, active.type.search_params):
            # The index was swapped for one of another type between the check and the lock.
            raise ValidationFailed.at("/params", f"the active index is now of type {active.type.name!r}")
        request = Request(
            k=options.k,
            filter=options.filter,
            params=params,
            params_text=options.params_text,
            threads=threads,
        )
        planned = self._plan(state, request, options, vectors.shape[1], wait=wait)
        watch = Stopwatch(state.costs.expected(planned.kind))
        found = find(state, self._engine.kernel, vectors, request, planned)
        searched = time.perf_counter()
        if len(vectors) == 1 and threads == 1:
            state.costs.learn(planned.kind, watch.seconds())
        index: dict[str, object] = {
            "type": active.type.name if active is not None else self._serving(state),
            "exact": found.exact,
        }
        warnings = [*state.warnings, *found.warnings, *warned]
        explain: dict[str, object] | None = None
        if options.explain:
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
            hits_of(
                state,
                found,
                at,
                include=options.include,
                min_score=options.min_score,
                known=known,
                accelerator=self._engine.kernel.accelerator,
            )
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
