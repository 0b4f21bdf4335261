"""The demo: a real server, a real corpus, three indexes, a filter, and a restart that loses nothing.

``python3 noxfile.py -s demo`` runs it on the glosses that ship with vdb; ``-- --corpus FILE`` on yours: JSON Lines
(``id``, ``text``, ``document``, anything else is metadata) with the embeddings as ``.npy`` beside it. Ends with 0 where
every promise was kept: exact search is exact, recall@10 of the other indexes is at least 0.95 on the shipped corpus,
and everything is back after the restart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from loading import Corpus, CorpusError, hold_out, load_corpus
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from serving import Server, ServerFailed
from truth import GroundTruth

import vdb_sdk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vdb_sdk.models import SearchResult

__all__ = ["main"]

SHIPPED: Final = Path(__file__).resolve().parent / "corpus"
INDEX_TYPES: Final = ("brute", "ivf_flat", "ivf_pq")
FILTER: Final = {"pos": "verb", "senses": {"$gte": 2}, "$document.rows": {"$lt": 150}}
K: Final = 10
SHOWN: Final = 12
PROMISED: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one index type did with all queries."""

    build_s: float
    answers: list[SearchResult]
    seen_ms: float
    within_ms: float
    recall: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    options = _options(arguments)
    console = Console()
    if not console.is_terminal:
        console = Console(width=118)
    try:
        corpus, queries = _inputs(options)
        with tempfile.TemporaryDirectory(prefix="vdb-demo-") as folder:
            return _Demo(console, corpus, queries, options).run(Path(folder) / "data")
    except CorpusError as error:
        console.print(f"[bold red]The corpus cannot be used.[/] {escape(str(error))}", highlight=False)
        return 2
    except (ServerFailed, vdb_sdk.VdbSdkError) as error:
        console.print(f"[bold red]The demo failed.[/] {escape(str(error))}", highlight=False)
        return 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="demo", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--corpus", type=Path, help="JSON Lines, possibly .gz (default: the glosses that ship)"
    )
    parser.add_argument("--vectors", type=Path, help=".npy of the corpus (default: the one of the same stem)")
    parser.add_argument(
        "--queries", type=Path, help="JSON Lines of queries (default: rows taken out of the corpus)"
    )
    parser.add_argument(
        "--query-vectors", type=Path, help=".npy of the queries (default: the one of the same stem)"
    )
    parser.add_argument("--metric", choices=("cosine", "dot", "l2"), default="cosine")
    parser.add_argument(
        "--filter", type=_json_object, help="a filter, as JSON (default: one that suits the corpus)"
    )
    options = parser.parse_args(arguments)
    if options.corpus is None:
        options.corpus, options.queries = SHIPPED / "glosses.jsonl.gz", SHIPPED / "glosses-queries.jsonl.gz"
        options.filter = options.filter or FILTER
    return options


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"not JSON ({error})") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"expected a JSON object, received {text}")
    return value


def _inputs(options: argparse.Namespace) -> tuple[Corpus, Corpus]:
    corpus = load_corpus(options.corpus, vectors=options.vectors, metric=options.metric)
    if options.queries is None:
        return hold_out(corpus, min(300, len(corpus) // 10))
    queries = load_corpus(options.queries, vectors=options.query_vectors, metric=options.metric, minimum=1)
    if queries.vectors.shape[1] != corpus.vectors.shape[1]:
        raise CorpusError(
            f"Queries have {queries.vectors.shape[1]} dimensions and the corpus {corpus.vectors.shape[1]}; "
            "both must come from the same model."
        )
    return corpus, queries


class _Demo:
    """One run: its data, and what went wrong so far."""

    def __init__(
        self, console: Console, corpus: Corpus, queries: Corpus, options: argparse.Namespace
    ) -> None:
        self.console = console
        self.corpus = corpus
        self.queries = queries
        self.options = options
        self.shipped = options.corpus.parent == SHIPPED
        self.failures: list[str] = []
        self.measured: dict[str, Measured] = {}

    def run(self, data_dir: Path) -> int:
        """Everything, in order."""
        self._say("Starting [b]vdb serve[/] on an empty data directory")
        with Server(data_dir) as server, vdb_sdk.connect(server.url) as client:
            self.console.print(f"ready at {server.url} after {server.started_in:.1f} s")
            library = self._load(client)
            truth = GroundTruth.of(
                self.corpus.ids, self.corpus.vectors, self.queries.vectors, metric=self.options.metric, k=K
            )
            for name in INDEX_TYPES:
                self.measured[name] = self._measure(library, name, truth)
            self._show_hits()
            self._show_filtered(library)
            self._show_measures()
            before = self._last_words(library)
        self._say("Stopped the server; starting it again on the same data")
        with Server(data_dir) as server, vdb_sdk.connect(server.url) as client:
            self._show_restart(client, server, before)
            self._conclude()
            self._leave_up(server)
        return 1 if self.failures else 0

    def _say(self, text: str) -> None:
        self.console.print(f"\n[bold cyan]▸[/] {text}", highlight=False)

    def _fail(self, text: str) -> None:
        self.failures.append(text)

    def _load(self, client: vdb_sdk.Client) -> vdb_sdk.LibraryHandle:
        corpus = self.corpus
        sizes = Counter(document for document in corpus.documents if document is not None)
        library = client.create_library("Demo", id="demo", metric=self.options.metric, index="brute")
        for document, rows in sizes.items():
            library.create_document(id=document, metadata={"rows": rows})
        started = time.perf_counter()
        library.upsert(
            ids=corpus.ids,
            embeddings=corpus.vectors,
            texts=corpus.texts,
            metadatas=corpus.metadatas,
            document_ids=corpus.documents,
        )
        took = time.perf_counter() - started
        self._say(
            f"Loaded [b]{len(corpus):,}[/] chunks × {corpus.vectors.shape[1]} in {len(sizes)} documents in {took:.1f} s "
            f"({len(corpus) / took:,.0f} rows/s, each on disk before it was acknowledged)"
        )
        return library

    def _measure(self, library: vdb_sdk.LibraryHandle, name: str, truth: GroundTruth) -> Measured:
        started = time.perf_counter()
        library.build_index(name, wait=True)
        built = time.perf_counter() - started
        vectors = self.queries.vectors
        for vector in vectors[:20]:
            library.search(vector, k=K)
        answers: list[SearchResult] = []
        times: list[float] = []
        for vector in vectors:
            started = time.perf_counter()
            answers.append(library.search(vector, k=K))
            times.append((time.perf_counter() - started) * 1e3)
        wrong = {answer.index.type for answer in answers} - {name}
        if wrong:
            self._fail(f"{name} was built, and {', '.join(wrong)} answered")
        recall = truth.recall([answer.ids for answer in answers])
        if name == "brute" and recall < 1:
            self._fail(f"brute is exact, and its recall@{K} is {recall:.4f}")
        if name != "brute" and recall < PROMISED and self.shipped:
            self._fail(f"recall@{K} of {name} is {recall:.4f}, below {PROMISED}")
        return Measured(
            build_s=built,
            answers=answers,
            seen_ms=statistics.median(times),
            within_ms=statistics.median(answer.took_ms for answer in answers),
            recall=recall,
        )

    def _show_hits(self) -> None:
        shown = min(SHOWN, len(self.queries))
        self._say(
            f"{shown} of {len(self.queries)} held-out queries, the three nearest under each index (score, text)"
        )
        table = Table(show_lines=True)
        table.add_column("query", style="bold", ratio=1, overflow="fold")
        for name in INDEX_TYPES:
            table.add_column(name, ratio=1, no_wrap=True)
        for row in range(shown):
            cells = [
                "\n".join(
                    _line(hit.score, hit.text or hit.id) for hit in self.measured[name].answers[row].hits[:3]
                )
                for name in INDEX_TYPES
            ]
            table.add_row(escape(_short(self.queries.texts[row] or self.queries.ids[row], 66)), *cells)
        self.console.print(table)

    def _show_filtered(self, library: vdb_sdk.LibraryHandle) -> None:
        condition = self.options.filter or _frequent(self.corpus)
        if condition is None:
            self._say("No metadata to filter on")
            return
        # A query whose plain answer the filter would cut: a filter that changes nothing shows nothing.
        answer = library.search(
            self.queries.vectors[2 % len(self.queries)], k=5, filter=condition, explain=True
        )
        self._say(
            f"The same, filtered: [b]{escape(json.dumps(condition))}[/]\n  "
            f"query: {escape(_short(self.queries.texts[2 % len(self.queries)], 90))}"
        )
        for hit in answer.hits:
            fields = ", ".join(f"{key}={hit.metadata[key]!r}" for key in condition if key in hit.metadata)
            where = f" in {hit.document_id}" if hit.document_id else ""
            self.console.print(
                escape(f"  {hit.score:.3f}  {_short(hit.text or hit.id, 64)}  [{fields}{where}]"),
                highlight=False,
            )
        if not answer.hits:
            self._fail(f"no chunk matches the filter {condition}")

    def _show_measures(self) -> None:
        table = Table(
            title=f"recall@{K} and latency over {len(self.queries)} queries, one at a time over HTTP"
        )
        for name in ("index", "build + save", f"recall@{K}", "median", "of it in the server"):
            table.add_column(name, justify="left" if name == "index" else "right")
        for name, measured in self.measured.items():
            table.add_row(
                name,
                f"{measured.build_s:.2f} s",
                f"{measured.recall:.4f}",
                f"{measured.seen_ms:.2f} ms",
                f"{measured.within_ms:.2f} ms",
            )
        self.console.print()
        self.console.print(table)
        if not self.shipped and any(measured.recall < PROMISED for measured in self.measured.values()):
            self.console.print(
                f"Recall below {PROMISED}: raise `n_probes` or `rerank` of the search for this data."
            )

    def _last_words(self, library: vdb_sdk.LibraryHandle) -> dict[str, Any]:
        """Write and delete once more just before the stop, and remember what must be back."""
        library.upsert(
            ids=["just before the stop"], embeddings=self.queries.vectors[:1], texts=["written last"]
        )
        library.delete([self.corpus.ids[0]])
        return self._state(library)

    def _state(self, library: vdb_sdk.LibraryHandle) -> dict[str, Any]:
        info = library.info()
        return {
            "chunks": info.chunks,
            "documents": info.documents,
            "revision": info.revision,
            "index": library.index_status().type,
            "hits": [library.search(vector, k=K).ids for vector in self.queries.vectors[:SHOWN]],
        }

    def _show_restart(self, client: vdb_sdk.Client, server: Server, before: dict[str, Any]) -> None:
        after = self._state(client.library("demo"))
        for name, value in before.items():
            if after[name] != value:
                self._fail(f"after the restart {name} is {after[name]}, it was {value}")
        same = "the same" if after == before else "[red]something else[/]"
        self.console.print(
            f"ready after {server.started_in:.1f} s: {after['chunks']:,} chunks, {after['documents']} documents, "
            f"index {after['index']}, revision {after['revision']};\n"
            f"the first {len(after['hits'])} queries find {same}, the chunk written last included"
        )

    def _conclude(self) -> None:
        for failure in self.failures:
            self.console.print(f"[bold red]✗[/] {escape(failure)}")
        if not self.failures:
            self._say("[green]Every promise was kept.[/]")

    def _leave_up(self, server: Server) -> None:
        if self.failures or not (sys.stdin.isatty() and sys.stdout.isatty()):
            return
        with suppress(KeyboardInterrupt, EOFError):
            if self.console.input("\nLeave the server up to look around? \\[y/N] ").strip().lower() in {
                "y",
                "yes",
            }:
                self.console.print(f"{server.url}/docs  (Ctrl-C stops it and removes the data)")
                server.wait()


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _line(score: float, text: str) -> str:
    return escape(_short(f"{score:.3f} {text}", 28))


def _frequent(corpus: Corpus) -> dict[str, Any] | None:
    """A condition that the data suggests: the most frequent value that at most half of the rows have."""
    counts = Counter(
        (key, value)
        for metadata in corpus.metadatas
        for key, value in metadata.items()
        if isinstance(value, (str, bool, int))
    )
    for (key, value), rows in counts.most_common():
        if rows * 2 <= len(corpus):
            return {key: value}
    return None


if __name__ == "__main__":
    sys.exit(main())
