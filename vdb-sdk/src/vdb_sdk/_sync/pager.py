# Written by vdb-sdk/scripts/unasync.py from _async/pager.py: change that file, then run the script.
# fmt: off
# ruff: noqa: I001, UP028, RUF100
"""Lists that span pages: iterate over the items, or over the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Callable

    from vdb_sdk._sync.session import Session
    from vdb_sdk._responses import Raw
    from vdb_sdk._transport import Request
    from vdb_sdk.models import Page

__all__ = ["Pager"]

Item = TypeVar("Item")


class Pager(Generic[Item]):
    """Items of a list, fetched a page at a time as they are needed. Each iteration starts anew.

    What is written while it runs may or may not be seen; an item that was there throughout is seen once.
    """

    def __init__(
        self,
        session: Session,
        request: Callable[[str | None], Request],
        reader: Callable[[Raw], Page[Item]],
        cursor: str | None,
    ) -> None:
        self._session: Session = session
        self._request: Callable[[str | None], Request] = request
        self._reader: Callable[[Raw], Page[Item]] = reader
        self._cursor: str | None = cursor

    def __iter__(self) -> Iterator[Item]:
        for page in self.pages():
            for item in page:
                yield item

    def pages(self) -> Iterator[Page[Item]]:
        """The pages, each with its ``next_cursor``."""
        cursor = self._cursor
        while True:
            page = self._session.call(self._request(cursor), self._reader)
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return
