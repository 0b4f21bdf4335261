"""Draws ``docs/explanation/figures/architecture.svg``: packages, the ways of a search and of a write, threads, disk.

It is a file of the repository, on white, so that a repository's page and the site show the same in light and in dark.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Final

__all__ = ["FILE", "drawing"]

FILE: Final = Path(__file__).resolve().parents[1] / "explanation" / "figures" / "architecture.svg"

_WIDTH: Final = 960
_HEIGHT: Final = 868
_INK: Final = "#1f2933"
_QUIET: Final = "#52606d"
_READ: Final = "#0b6e99"
_WRITE: Final = "#b44d12"
_STYLE: Final = f"""\
text {{ font-family: system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; fill: {_INK}; font-size: 14px; }}
.title {{ font-weight: 600; }}
.small {{ font-size: 12.5px; fill: {_QUIET}; }}
.read {{ fill: {_READ}; font-weight: 600; }}
.write {{ fill: {_WRITE}; font-weight: 600; }}"""


def _box(x: int, y: int, width: int, height: int, fill: str = "#ffffff", stroke: str = "#9aa5b1") -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="{stroke}"/>'


def _text(x: int, y: int, text: str, kind: str = "") -> str:
    return f'<text x="{x}" y="{y}"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}>{escape(text)}</text>'


def _part(x: int, y: int, width: int, height: int, title: str, *lines: str, fill: str = "#ffffff") -> str:
    """A box with a title and lines below it."""
    told = [_text(x + 12, y + 40 + 18 * number, line, "small") for number, line in enumerate(lines)]
    return "\n".join([_box(x, y, width, height, fill), _text(x + 12, y + 22, title, "title"), *told])


def _arrow(points: str, way: str = "", *, dashed: bool = False) -> str:
    colour = {"read": _READ, "write": _WRITE}.get(way, _QUIET)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    end = way or "plain"
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash} marker-end="url(#{end})"/>'


def _head(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 10 5 0 10z" fill="{colour}"/></marker>'
    )


def _band(y: int, height: int, fill: str, name: str, *remarks: str) -> str:
    """A distribution, or what lies below them, across the drawing; remarks stand below the name."""
    told = [_text(34, y + 42 + 18 * number, remark, "small") for number, remark in enumerate(remarks)]
    return "\n".join([_box(20, y, _WIDTH - 40, height, fill), _text(34, y + 24, name, "title"), *told])


def _row(y: int, text: str) -> str:
    """A line within the box of a library."""
    return "\n".join([_box(346, y, 238, 40), _text(358, y + 25, text, "small")])


def _plugin(x: int, kind: str, ours: str) -> str:
    return "\n".join([_text(x, 690, kind, "title"), _text(x, 710, ours, "small")])


def drawing() -> str:
    """The SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        "<title>The architecture of vdb: client, server, engine, plugins and disk</title>",
        f"<style>{_STYLE}</style>",
        f"<defs>{_head('plain', _QUIET)}{_head('read', _READ)}{_head('write', _WRITE)}</defs>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        # Clients
        _part(20, 16, 200, 62, "any HTTP client", "curl, another language"),
        _part(240, 16, 200, 62, "vdb-dashboard", "Streamlit, over the client"),
        _part(480, 16, 240, 62, "vdb-sdk", "sync and async, typed"),
        _part(760, 16, 180, 62, "your program", "Python"),
        _arrow("440,47 478,47"),
        _arrow("760,47 722,47"),
        # Server
        _band(112, 150, "#eef4f8", "vdb-server"),
        _text(130, 136, "an event loop, and 32 threads for what has to wait", "small"),
        _part(
            40,
            152,
            330,
            92,
            "Checks",
            "Host and Origin, API key, size of the body;",
            "metrics and logs around all of it",
        ),
        _part(
            400, 152, 250, 92, "Routes", "JSON to values; every fault with", "its pointer; problem documents"
        ),
        _part(
            680, 152, 240, 92, "In process", "connect() and connect(path)", "hand requests to the same routes"
        ),
        _arrow("80,78 80,110"),
        _arrow("540,78 540,110"),
        _arrow("660,78 660,95 800,95 800,150", dashed=True),
        _arrow("370,198 398,198"),
        _arrow("680,198 652,198", dashed=True),
        # Engine
        _band(296, 330, "#f6f3ea", "vdb-core"),
        _text(330, 326, "domain, services and engine;", "small"),
        _text(330, 344, "knows no HTTP and no Rust", "small"),
        _text(40, 350, "A search: on the loop, or a thread", "read"),
        _part(
            40, 362, 250, 72, "1  Plan", "filter to bitmap, minus tombstones;", "few rows left: compare each"
        ),
        _part(
            40, 452, 250, 72, "2  Search", "the index over the base, with the", "bitmap; the delta exactly"
        ),
        _part(40, 542, 250, 72, "3  Rescore", "float64, from the stored rows;", "too few hits: exact search"),
        _part(
            330,
            362,
            270,
            252,
            "A library in memory",
            "RWLock: many readers, or one writer",
            "for the moment of a publish",
            fill="#fffdf6",
        ),
        _row(452, "base: mapped rows, and the index"),
        _row(504, "delta: segments written since"),
        _row(556, "tombstones, metadata index"),
        _text(640, 350, "A write: one thread for all libraries", "write"),
        _part(
            640,
            362,
            280,
            72,
            "1  Queue and committer",
            "validates against the state and the",
            "writes before it; no lock held",
        ),
        _part(
            640,
            452,
            280,
            72,
            "2  Journal writer",
            "one fsync for a group of writes,",
            "while the next group is validated",
        ),
        _part(
            640,
            542,
            280,
            72,
            "3  Publish, then answer",
            "write lock for a moment; only what",
            "is durable is ever shown",
        ),
        _arrow("440,244 440,279 165,279 165,334", "read"),
        _arrow("165,434 165,450", "read"),
        _arrow("165,524 165,540", "read"),
        _arrow("330,488 292,488", "read"),
        _arrow("600,244 600,279 780,279 780,334", "write"),
        _arrow("780,434 780,450", "write"),
        _arrow("780,524 780,540", "write"),
        _arrow("640,578 602,578", "write"),
        # Plugins
        _band(660, 84, "#f1eef7", "Plugins", "found by entry points; no", "hook is called by a search"),
        _plugin(250, "index types", "vdb-index-rust, yours"),
        _plugin(430, "snapshot stores", "NumPy and JSON files"),
        _plugin(620, "journals", "SQLite"),
        _plugin(780, "embedders", "vdb-embedder-minilm"),
        _arrow("40,488 30,488 30,642 290,642 290,672", "read"),
        _arrow("465,614 465,672"),
        _text(475, 646, "builds, folds, checkpoints", "small"),
        _arrow("920,488 931,488 931,642 650,642 650,672", "write"),
        # Disk
        _band(776, 76, "#eeeeee", "Disk", "one process a directory"),
        _box(250, 796, 420, 36),
        _text(262, 819, "<library>/<generation>/*.npy, *.json, index/; manifest.json", "small"),
        _box(690, 796, 230, 36),
        _text(702, 819, "_journal.sqlite3, _journal_entries/", "small"),
        _arrow("465,718 465,794"),
        _arrow("650,718 650,760 800,760 800,794", "write"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    FILE.write_text(drawing(), "utf-8")
