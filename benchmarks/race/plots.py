"""Recall against queries a second, one SVG a workload and index type, from a run's results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from race.choose import frontier
from race.peers.common import import_peer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["draw"]

# One colour a library in every plot, told apart by who sees no red or green too (Okabe and Ito).
_COLOURS: Final = {
    "vdb": "#0072b2", "faiss": "#d55e00", "scann": "#009e73", "hnswlib": "#cc79a7", "usearch": "#e69f00", "numpy": "#777777",
}  # fmt: skip


def draw(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw every sweep there is; returns the files.

    Raises:
        Absent: matplotlib cannot be used.
    """
    matplotlib = import_peer("matplotlib")
    matplotlib.use("svg")
    # The same results give the same bytes: a plot in the docs changes with its figures only.
    settings = {"svg.hashsalt": "vdb", "svg.fonttype": "none", "font.size": 9}
    plt = import_peer("matplotlib.pyplot")
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    with matplotlib.rc_context(settings):
        for workload in results["workloads"]:
            for family in workload["families"]:
                if family["family"] == "brute":
                    continue  # exact: a curve of one point
                file = (
                    folder
                    / f"recall-{workload['name']}-{workload['metric']}-{family['family']}.svg".replace(
                        ".npy", ""
                    )
                )
                _one(plt, workload, family, file, results["machine"])
                files.append(file)
    return files


def _one(
    plt: Any, workload: Mapping[str, Any], family: Mapping[str, Any], file: Path, machine: Mapping[str, Any]
) -> None:
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    for name in sorted({point["peer"] for point in family["points"]}, key=list(_COLOURS).index):
        line = frontier([point for point in family["points"] if point["peer"] == name], "quick_batch_s")
        axes.plot(
            [point["recall"] for point in line],
            [1 / point["quick_batch_s"] for point in line],
            label=f"vdb {family['family']}" if name == "vdb" else name,
            color=_COLOURS[name],
            linewidth=2.2 if name == "vdb" else 1.2,
            marker=".",
        )
    axes.set_xlim(0.8, 1.002)
    axes.set_yscale("log")
    axes.set_xlabel(f"recall@{workload['k']}")
    axes.set_ylabel("queries a second, batch")
    axes.set_title(
        f"{workload['rows']:,} × {workload['dimension']}, {workload['metric']}, {machine['threads']} thread(s), {machine['cpu']}",
        fontsize=9,
    )
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend()
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
