"""What every request is made of: paths with any id in them, queries, headers, JSON bodies. Pure."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from vdb_sdk._json import check_finite, dumps
from vdb_sdk._transport import Repeat, Request
from vdb_sdk.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ACCEPT",
    "JSON",
    "PATCH",
    "UNSET",
    "Unset",
    "conditional",
    "delete",
    "get",
    "given_only",
    "if_match_header",
    "json_body",
    "library_path",
    "query_string",
    "segment",
    "with_key",
]

JSON: Final = {"content-type": "application/json", "accept": "application/json"}
PATCH: Final = {"content-type": "application/merge-patch+json", "accept": "application/json"}
ACCEPT: Final = {"accept": "application/json"}


class Unset:
    """The type of an argument that was left out, where ``None`` means "remove it"."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()
"""Leave it as it is."""


def segment(value: object, what: str) -> str:
    """Percent-encode an id so that it is one path segment, whatever it holds."""
    if not isinstance(value, str):
        msg = f"{what}: expected a string, received {type(value).__name__}."
        raise InvalidArgument(msg)
    if not value:
        msg = f"{what}: expected an id of 1 to 256 characters, received an empty string."
        raise InvalidArgument(msg)
    try:
        encoded = quote(value, safe="")
    except UnicodeEncodeError as error:
        msg = f"{what}: an id cannot hold a lone surrogate; received {value!r}."
        raise InvalidArgument(msg) from error
    # A literal dot segment would be resolved away before it reaches the server (RFC 3986, 5.2.4).
    return encoded.replace(".", "%2E") if encoded in {".", ".."} else encoded


def query_string(parameters: Mapping[str, object]) -> str:
    """The query of a URL, with its ``?``; what is ``None`` is left out."""
    given = {name: value for name, value in parameters.items() if value is not None}
    try:
        return f"?{urlencode(given, doseq=True, quote_via=quote)}" if given else ""
    except UnicodeEncodeError as error:
        msg = f"an argument cannot hold a lone surrogate: {error}"
        raise InvalidArgument(msg) from error


def if_match_header(headers: Mapping[str, str], if_match: int | None) -> dict[str, str]:
    """``headers`` and an ``If-Match`` that names a revision."""
    result = dict(headers)
    if if_match is not None:
        result["if-match"] = f'"{if_match}"'
    return result


def conditional(if_match: int | None) -> Repeat:
    """When a change that may be conditional may be sent again."""
    # The second send of a conditional change would meet the revision that the first one made, and fail.
    return Repeat.ALWAYS if if_match is None else Repeat.REFUSED


def given_only(**values: object) -> dict[str, object]:
    """What was given, ``None`` included."""
    return {name: value for name, value in values.items() if not isinstance(value, Unset)}


def json_body(values: Mapping[str, object], where: str) -> bytes:
    """A JSON body; raises `InvalidArgument` for what JSON cannot carry."""
    check_finite(values, where)
    return dumps(values, where)


def library_path(library_id: str) -> str:
    """Path of a library."""
    return f"/v1/libraries/{segment(library_id, 'library_id')}"


def with_key(request: Request) -> Request:
    """The request under an idempotency key of its own."""
    return replace(request, headers={**request.headers, "idempotency-key": f'"{os.urandom(16).hex()}"'})


def get(target: str) -> Request:
    """``GET`` of anything that answers JSON."""
    return Request(method="GET", target=target, headers=ACCEPT)


def delete(target: str, *, if_match: int | None = None) -> Request:
    """``DELETE`` of one entity."""
    return Request(
        method="DELETE", target=target, headers=if_match_header(ACCEPT, if_match), repeat=Repeat.REFUSED
    )
