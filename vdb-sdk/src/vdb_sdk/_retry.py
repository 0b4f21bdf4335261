"""When to try again, and after how long. Pure decisions: the sessions do the waiting."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from vdb_sdk._transport import Repeat
from vdb_sdk.errors import InvalidArgument

__all__ = ["RetryPolicy", "parse_retry_after"]

_REFUSALS: Final = frozenset({429, 503})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with jitter, for requests that may be repeated.

    The n-th wait is ``first_delay * 2**n`` seconds, at most ``max_delay``, of which a random half is taken off so
    that many clients do not come back together. Where the server says ``Retry-After``, at least that long.
    """

    retries: int = 3
    """How often to try again at most; 0 = never."""

    first_delay: float = 0.1
    """Seconds."""

    max_delay: float = 8.0
    """Seconds."""

    max_retry_after: float = 60.0
    """Seconds; a server that asks for more is not waited for."""

    def __post_init__(self) -> None:
        if self.retries < 0:
            msg = f"retries: expected 0 or more, received {self.retries}."
            raise InvalidArgument(msg)
        if self.first_delay < 0 or self.max_delay < 0 or self.max_retry_after < 0:
            msg = "RetryPolicy: expected delays of 0 seconds or more."
            raise InvalidArgument(msg)

    def after_failure(self, repeat: Repeat, attempt: int, *, sent: bool) -> float | None:
        """Seconds to wait after a connection that failed, or ``None`` to give up. ``attempt`` counts from 0."""
        if attempt >= self.retries or (sent and repeat is not Repeat.ALWAYS):
            return None
        return self._backoff(attempt)

    def after_status(
        self, repeat: Repeat, attempt: int, status: int, retry_after: float | None
    ) -> float | None:
        """Seconds to wait after an answer of this status, or ``None`` to give up."""
        if status not in _REFUSALS or repeat is Repeat.UNSENT or attempt >= self.retries:
            return None
        if retry_after is None:
            return self._backoff(attempt)
        if retry_after > self.max_retry_after:
            return None
        return retry_after + random.random() * self.first_delay  # noqa: S311  # jitter is no secret

    def _backoff(self, attempt: int) -> float:
        ceiling = min(self.max_delay, self.first_delay * 2.0**attempt)
        return ceiling * (1.0 - random.random() / 2.0)  # noqa: S311  # jitter is no secret


def parse_retry_after(value: str | None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for: a number, or an HTTP date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    text = value.strip()
    try:
        seconds = float(text)
    except ValueError:
        return _seconds_until(text)
    return seconds if 0 <= seconds < float("inf") else None


def _seconds_until(text: str) -> float | None:
    import datetime
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return max(0.0, (moment - datetime.datetime.now(datetime.UTC)).total_seconds())
