"""The demo with nothing but texts: the server embeds them, and finds them by what they mean.

``python3 noxfile.py -s demo -- --text`` loads glosses of WordNet and answers a few queries, then yours as you type them;
``-- --text "a small dog" "stock market"`` answers these. ``--file FILE`` takes your own texts: one a line, or JSON Lines with
``text``. Ends with 0 where every query found something.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loading import CorpusError, read_rows
from rich.console import Console
from rich.markup import escape
from serving import Server, ServerFailed

import vdb_sdk

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

SHIPPED: Final = Path(__file__).resolve().parent / "corpus" / "glosses.jsonl.gz"
QUERIES: Final = (
    "a young animal",
    "to lose money",
    "something to drink in the morning",
    "afraid of the dark",
)
BATCH: Final = 128


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    options = _options(arguments)
    console = Console()
    if not console.is_terminal:
        console = Console(width=118)
    try:
        texts = _texts(options.file, options.rows)
        with tempfile.TemporaryDirectory(prefix="vdb-demo-") as folder:
            return _run(console, texts, options.queries, Path(folder) / "data")
    except CorpusError as error:
        console.print(f"[bold red]The texts cannot be used.[/] {escape(str(error))}", highlight=False)
        return 2
    except (ServerFailed, vdb_sdk.VdbSdkError) as error:
        console.print(f"[bold red]The demo failed.[/] {escape(str(error))}", highlight=False)
        return 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="demo --text", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("queries", nargs="*", help="texts to look for (default: a few, then what you type)")
    parser.add_argument("--file", type=Path, help="your texts: one a line, or .jsonl with text, possibly .gz")
    parser.add_argument("--rows", type=int, default=2_000, help="texts to load at most (default: 2000)")
    options = parser.parse_args(arguments)
    if options.rows < 1:
        parser.error(f"--rows: expected 1 or more, received {options.rows}")
    return options


def _texts(file: Path | None, rows: int) -> list[str]:
    if file is None:
        shipped = [str(row["text"]) for row in read_rows(SHIPPED)]
        # Evenly over the alphabet: the first ones would all begin with an a.
        return shipped[:: max(1, len(shipped) // rows)][:rows]
    if ".jsonl" in file.suffixes:
        lines = [str(row.get("text") or "") for row in read_rows(file)]
    else:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise CorpusError(f"{file} cannot be read: {error}.") from error
    texts = list(islice((line.strip() for line in lines if line.strip()), rows))
    if not texts:
        raise CorpusError(
            f"{file} holds no text: expected one a line, or JSON Lines with `text` in a .jsonl file."
        )
    return texts


def _run(console: Console, texts: list[str], queries: Sequence[str], data_dir: Path) -> int:
    with Server(data_dir) as server, vdb_sdk.connect(server.url, timeout=600) as client:
        console.print(f"vdb serve is ready at {server.url} after {server.started_in:.1f} s")
        library = client.create_library("Texts", id="texts")
        started = time.perf_counter()
        warnings = 0
        with console.status("embedding") as status:
            for begin in range(0, len(texts), BATCH):
                part = texts[begin : begin + BATCH]
                ids = [str(number) for number in range(begin, begin + len(part))]
                warnings += len(library.upsert(ids=ids, texts=part).warnings)
                status.update(f"embedding: {begin + len(part):,} of {len(texts):,}")
        took = time.perf_counter() - started
        console.print(
            f"{len(texts):,} texts embedded by [b]{library.info().embedder}[/] and stored in {took:.1f} s "
            f"({len(texts) / took:,.0f} texts/s, each on disk before it was acknowledged)"
        )
        if warnings:
            console.print(
                f"{warnings:,} of them are longer than the model reads; split them to find all of them."
            )
        found = [_answer(console, library, query) for query in queries or QUERIES]
        if not queries and sys.stdin.isatty() and sys.stdout.isatty():
            _converse(console, library)
    return 0 if all(found) else 1


def _answer(console: Console, library: vdb_sdk.LibraryHandle, query: str) -> bool:
    started = time.perf_counter()
    answer = library.search(query, k=3)
    took = 1e3 * (time.perf_counter() - started)
    console.print(f"\n[bold cyan]▸[/] [b]{escape(query)}[/]  ({took:.0f} ms)", highlight=False)
    for hit in answer.hits:
        console.print(escape(f"  {hit.score:.3f}  {_short(hit.text or hit.id, 100)}"), highlight=False)
    for warning in answer.warnings:
        console.print(f"  [yellow]{escape(warning)}[/]", highlight=False)
    return len(answer) > 0


def _converse(console: Console, library: vdb_sdk.LibraryHandle) -> None:
    console.print("\nWhat are you looking for? An empty line ends.")
    with suppress(KeyboardInterrupt, EOFError):
        while query := console.input("[bold]> [/]").strip():
            _answer(console, library, query)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


if __name__ == "__main__":
    sys.exit(main())
