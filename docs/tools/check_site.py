"""Looks at every page of the built site: what it links to or shows is there, and nothing comes from another host."""

from __future__ import annotations

from functools import cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """The ids of a page, what it links to, and what a browser loads with it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what is of interest of one tag."""
        found = {name: value for name, value in attrs if value}
        self.ids.update(found[name] for name in ("id", "name") if name in found)
        if tag == "a" and "href" in found:
            self.links.add(found["href"])
        elif tag in LOADED and LOADED[tag] in found and found.get("rel") != "canonical":
            self.loaded.add(found[LOADED[tag]])


@cache
def read(file: Path) -> Page:
    """A page, parsed once."""
    return Page(file.read_text(encoding="utf-8"))


def fault(file: Path, target: str, site: Path) -> str | None:
    """What is wrong with a target within the site, if anything."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return None
    path = unquote(parts.path)
    found = file if not path else (site / path.lstrip("/") if path.startswith("/") else file.parent / path)
    found = found / "index.html" if found.is_dir() else found
    if not found.is_file():
        return f"{target} is not there"
    fragment = unquote(parts.fragment)
    if fragment and found.suffix == ".html" and fragment not in read(found.resolve()).ids:
        return f"{target}: the page has no such place"
    return None


def faults(site: Path) -> list[str]:
    """Everything that is wrong with the site, one line each."""
    told: list[str] = []
    for file in sorted(site.rglob("*.html")):
        page = read(file.resolve())
        where = file.relative_to(site).as_posix()
        problems = (fault(file, target, site) for target in sorted(page.links | page.loaded))
        told += [f"{where}: {problem}" for problem in problems if problem]
        told += [f"{where}: {target} is of another host" for target in sorted(page.loaded) if "//" in target]
    return told
