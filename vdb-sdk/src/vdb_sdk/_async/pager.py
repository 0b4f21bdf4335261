"""Lists that span pages: iterate over the items, or over the pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from vdb_sdk._async.session import AsyncSession
    from vdb_sdk._responses import Raw
    from vdb_sdk._transport import Request
    from vdb_sdk.models import Page

__all__ = ["AsyncPager"]

Item = TypeVar("Item")


class AsyncPager(Generic[Item]):
    """Items of a list, fetched a page at a time as they are needed. Each iteration starts anew.

    What is written while it runs may or may not be seen; an item that was there throughout is seen once.
    """

    def __init__(
        self,
        session: AsyncSession,
        request: Callable[[str | None], Request],
        reader: Callable[[Raw], Page[Item]],
        cursor: str | None,
    ) -> None:
        self._session: AsyncSession = session
        self._request: Callable[[str | None], Request] = request
        self._reader: Callable[[Raw], Page[Item]] = reader
        self._cursor: str | None = cursor

    async def __aiter__(self) -> AsyncIterator[Item]:
        async for page in self.pages():
            for item in page:
                yield item

    async def pages(self) -> AsyncIterator[Page[Item]]:
        """The pages, each with its ``next_cursor``."""
        cursor = self._cursor
        while True:
            page = await self._session.call(self._request(cursor), self._reader)
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return
