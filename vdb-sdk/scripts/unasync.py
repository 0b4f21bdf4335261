#!/usr/bin/env python3
"""Writes the synchronous client (`_sync/`) from the asynchronous one (`_async/`), token by token.

    python3 vdb-sdk/scripts/unasync.py            write
    python3 vdb-sdk/scripts/unasync.py --check    change nothing; end with 1 where a file is not what would be written

``async`` and ``await`` go, names such as ``AsyncClient`` become ``Client``, in code and in docstrings alike. All else
stays as it is, to the byte. Needs the standard library alone.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import tokenize
from pathlib import Path

NAMES = {
    "AsyncClient": "Client",
    "AsyncGenerator": "Generator",
    "AsyncIterator": "Iterator",
    "AsyncJob": "Job",
    "AsyncLibraryHandle": "LibraryHandle",
    "AsyncPager": "Pager",
    "AsyncSession": "Session",
    "AsyncTransport": "Transport",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "_async": "_sync",
    "async_sleep": "sleep",
    "asynchronous": "synchronous",
    "connect_async": "connect",
}
KEYWORDS = {"async", "await"}
HEADER = """\
# Written by vdb-sdk/scripts/unasync.py from _async/{name}: change that file, then run the script.
# fmt: off
# ruff: noqa: I001, UP028, RUF100
"""
# In text the keywords go only where they are code, so that prose may still speak of "async".
TEXT_KEYWORDS = re.compile(r"\bawait |\basync (?=with\b|for\b|def\b)")
WORDS = re.compile(r"\b[A-Za-z_]\w*\b")


def convert(source: str) -> str:
    """The synchronous twin of ``source``."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    pieces: list[str] = []
    copied = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        begin = starts[token.start[0] - 1] + token.start[1]
        end = starts[token.end[0] - 1] + token.end[1]
        new = _replacement(token)
        if new is None:
            continue
        if not new and source[end : end + 1] == " ":
            end += 1
        pieces += (source[copied:begin], new)
        copied = end
    pieces.append(source[copied:])
    return "".join(pieces)


def _replacement(token: tokenize.TokenInfo) -> str | None:
    """What stands for a token; ``None`` = itself, an empty string = nothing."""
    if token.type == tokenize.NAME:
        return "" if token.string in KEYWORDS else NAMES.get(token.string)
    # From Python 3.12 on, f-strings come in pieces, whose names are tokens of their own.
    if token.type in {tokenize.STRING, tokenize.COMMENT}:
        text = TEXT_KEYWORDS.sub("", token.string)
        text = WORDS.sub(lambda word: NAMES.get(word[0], word[0]), text)
        return None if text == token.string else text
    return None


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing, say what would change")
    arguments = parser.parse_args()

    package = Path(__file__).resolve().parent.parent / "src" / "vdb_sdk"
    wanted = {
        package / "_sync" / path.name: HEADER.format(name=path.name)
        + convert(path.read_text(encoding="utf-8"))
        for path in sorted((package / "_async").glob("*.py"))
    }
    stale = [path for path in sorted((package / "_sync").glob("*.py")) if path not in wanted]
    changed = [
        path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in (*changed, *stale):
        print(f"{'differs' if arguments.check else 'wrote'}: {path.relative_to(package)}")
    if arguments.check:
        if changed or stale:
            print("Run: python3 vdb-sdk/scripts/unasync.py")
        return 1 if changed or stale else 0
    (package / "_sync").mkdir(exist_ok=True)
    for path in changed:
        path.write_text(wanted[path], encoding="utf-8")
    for path in stale:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
