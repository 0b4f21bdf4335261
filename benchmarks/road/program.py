"""A run from options to a file: the parts one after another, then the tables."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from race.machine import describe

from road import embedded, ingest, searches, stall, table
from road.work import K, prepare
from road.wrk import need_wrk

if TYPE_CHECKING:
    from road.options import Options

__all__ = ["run"]


def run(options: Options) -> int:
    """Measure and show, or only show."""
    if options.redraw is not None:
        print(table.render(json.loads(options.redraw.read_text(encoding="utf-8"))))
        return 0
    if {"searches", "stall"} & set(options.parts):
        need_wrk()
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:6.1f} s] {text}", flush=True)

    machine = describe(1)
    say("rows, queries and the exact answers ...")
    work = prepare(options)
    results: dict[str, Any] = {
        "machine": machine,
        "data": work.name,
        "rows": len(work.rows),
        "dimension": work.rows.shape[1],
        "k": K,
        "recall": options.recall,
        "connections": options.connections,
        "rounds": options.rounds,
        "seconds": options.seconds,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "road.json"
    for part in options.parts:
        with tempfile.TemporaryDirectory(prefix="vdb-road-") as name:
            folder = Path(name)
            match part:
                case "searches":
                    results[part] = searches.measure(work, options, folder, say)
                case "ingest":
                    results[part] = ingest.measure(work, options, folder, say)
                case "stall":
                    results[part] = stall.measure(work, options, folder, say)
                case _:
                    results[part] = embedded.measure(work, options, say)
        # After each one: what was measured is not lost to a failure in the next.
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print()
    print(table.render(results))
    say(f"wrote {file}")
    return 0
