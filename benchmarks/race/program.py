"""A run from options to files: workloads, contests, the lines of an index beside itself, then tables and plots."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from race import beside, plots, table
from race.contest import Contest
from race.data import generate, load
from race.filtered import draw_filters, measure_filters
from race.machine import describe
from race.peers.catalog import present
from race.peers.contract import Absent
from race.peers.vdb import Vdb, VdbIndex
from race.scaling import measure_scaling
from race.truth import Truth

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from race.data import Workload
    from race.options import Options
    from race.peers.contract import Peer

__all__ = ["run"]


def run(options: Options) -> int:
    """Measure and show, or only show."""
    if options.beside:
        stems = [file.stem for file in options.beside]
        names = [str(file) if stems.count(file.stem) > 1 else file.stem for file in options.beside]
        print(beside.render({name: _results(file) for name, file in zip(names, options.beside, strict=True)}))
        return 0
    if options.redraw is not None:
        results: dict[str, Any] = _results(options.redraw)
        print(table.render(results))
        _draw(results, options.plots)
        return 0
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:6.1f} s] {text}", flush=True)

    ours = Vdb()
    try:
        ours.version()
    except Absent as error:
        raise SystemExit(f"vdb: {error}") from error
    peers, versions, absent = present(options.peers)
    for name, version in versions.items():
        say(f"peer {name} {version}")
    for name, why in absent.items():
        say(f"peer {name} is ABSENT: {why}")
    machine = describe(options.threads)
    results = {"machine": machine, "peers": versions, "absent": absent, "full": options.full, "workloads": []}
    options.out.mkdir(parents=True, exist_ok=True)
    for workload in _workloads(options):
        results["workloads"].append(_race(workload, ours, peers, options, say))
        # After each one: what was measured in an hour is not lost to a failure in the next.
        file = options.out / "results.json"
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print()
    print(table.render(results))
    say(f"wrote {options.out / 'results.json'}")
    _draw(results, options.plots)
    return 0


def _results(file: Path) -> dict[str, Any]:
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(results, dict) or "workloads" not in results:
            raise ValueError("it has no workloads")
    except (OSError, ValueError) as error:
        raise SystemExit(
            f"{file}: expected the results.json of a run, received what cannot be read as one: {error}"
        ) from error
    return results


def _workloads(options: Options) -> Iterator[Workload]:
    if options.data is not None:
        yield load(
            options.data,
            options.queries,
            metric=options.metric,
            n_queries=options.n_queries,
            seed=options.seed,
        )
        return
    for case in options.cases:
        yield generate(case, n_queries=options.n_queries, seed=options.seed)


def _race(workload: Workload, ours: Vdb, peers: Sequence[Peer], options: Options, say: Any) -> dict[str, Any]:
    rows, queries = workload.rows, workload.queries
    say(f"{workload.name}: {len(rows):,} x {rows.shape[1]}, {workload.metric}: the exact answers ...")
    truth = Truth.of(rows, queries, metric=workload.metric, k=options.k)
    filters = draw_filters(workload, k=options.k, seed=options.seed)
    families: list[dict[str, Any]] = []
    filtered: list[dict[str, Any]] = []
    scaled: list[dict[str, Any]] = []
    for family in options.families:
        contest = Contest(family, workload, truth, options, say)
        try:
            families.append(contest.run(ours, peers))
            point = contest.ours_at(options.targets[0])
            if point is None or not isinstance(point.entry.built, VdbIndex):
                say(
                    f"{family}: no setting reaches recall {options.targets[0]}, so no filtered and threaded lines"
                )
                continue
            built, label = point.entry.built, point.entry.variant.label
            say(f"{family}: {len(filters)} filters ...")
            filtered += measure_filters(label, built, point.setting, workload, filters, options, point.recall)
            if options.threads == 1:
                say(f"{family}: two threads ...")
                scaled.append(measure_scaling(point.entry.variant, built, point.setting, workload, options))
        finally:
            contest.close()
    return {
        "name": workload.name,
        "metric": workload.metric,
        "rows": len(rows),
        "dimension": rows.shape[1],
        "n_queries": len(queries),
        "k": options.k,
        "rounds": options.rounds,
        "build_rounds": options.build_rounds,
        "seed": options.seed,
        "families": families,
        "filtered": filtered,
        "scaling": scaled,
    }


def _draw(results: dict[str, Any], folder: Path) -> None:
    try:
        drawn = plots.draw(results, folder)
    except Absent as error:
        print(f"no plots: matplotlib is absent ({error})")
        return
    for file in drawn:
        print(f"drew {file}")
