from __future__ import annotations

import pickle
import re

import pytest

import vdb_sdk
from vdb_sdk import errors
from vdb_sdk._responses import error_of
from vdb_sdk._transport import Request, Response

REQUEST = Request(method="POST", target="/v1/libraries/a/search")


def answer(status: int, body: bytes = b"", **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status=status, headers=named, body=body)


def test_every_public_error_is_drawn_in_the_tree_under_its_parent() -> None:
    drawn = re.findall(r"^ {4}([│├└─ ]*)(\w+)", errors.__doc__ or "", re.MULTILINE)
    path: list[str] = []
    seen: set[str] = set()
    for branch, name in drawn:
        depth = len(branch) // 4
        path[depth:] = [name]
        seen.add(name)
        kind = getattr(errors, name)
        if depth:
            assert kind.__bases__[0].__name__ == path[depth - 1], name
    exceptions = {name for name in errors.__all__ if issubclass(getattr(errors, name), Exception)}
    assert seen == exceptions


def test_all_names_what_is_public_and_everything_of_the_modules_is_exported() -> None:
    assert sorted(vdb_sdk.__all__) == sorted(set(vdb_sdk.__all__))
    for name in vdb_sdk.__all__:
        assert hasattr(vdb_sdk, name)
    assert set(errors.__all__) <= set(vdb_sdk.__all__)
    public = {
        name
        for name, value in vars(vdb_sdk).items()
        if getattr(value, "__module__", "").startswith("vdb_sdk") and not name.startswith("_")
    }
    assert public <= set(vdb_sdk.__all__)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequestError),
        (401, errors.AuthenticationError),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
        (409, errors.ConflictError),
        (412, errors.PreconditionFailed),
        (413, errors.PayloadTooLargeError),
        (415, errors.ApiError),
        (422, errors.ValidationError),
        (429, errors.TooManyRequestsError),
        (500, errors.ServerError),
        (502, errors.ServerError),
        (503, errors.UnavailableError),
        (507, errors.StorageFullError),
    ],
)
def test_each_status_has_its_class(status: int, kind: type[errors.ApiError]) -> None:
    error = error_of(REQUEST, answer(status, b'{"code": "some_code", "detail": "some text"}'))
    assert type(error) is kind
    assert (error.status, error.code) == (status, "some_code")


def test_a_problem_document_is_read_whole() -> None:
    body = (
        b'{"title": "Unprocessable", "detail": "two things", "code": "validation_failed", "job_id": "j1",'
        b' "errors": [{"pointer": "/k", "detail": "too large"},'
        b' {"pointer": "/filter", "detail": "no JSON", "in": "query"}]}'
    )
    error = error_of(REQUEST, answer(422, body, x_request_id="r-1", retry_after="7"))
    assert isinstance(error, errors.ValidationError)
    assert error.errors == (
        errors.Fault("/k", "too large"),
        errors.Fault("/filter", "no JSON", "query"),
    )
    assert (error.request_id, error.retry_after, error.job_id) == ("r-1", 7.0, "j1")
    assert str(error) == "422 validation_failed: two things (request r-1)"


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"[1]", b'{"errors": [1, {"x": 2}]}'])
def test_an_answer_that_is_no_problem_document_still_tells_its_status(body: bytes) -> None:
    error = error_of(REQUEST, answer(502, body))
    assert isinstance(error, errors.ServerError)
    assert error.code == "http_502"


def test_a_redirect_is_not_followed_and_says_where_it_leads() -> None:
    error = error_of(REQUEST, answer(301, location="https://elsewhere/"))
    assert isinstance(error, errors.UnexpectedResponse)
    assert "https://elsewhere/" in str(error)


@pytest.mark.parametrize(
    "error",
    [
        error_of(
            REQUEST,
            answer(422, b'{"detail": "x", "code": "c", "errors": [{"pointer": "/a", "detail": "b"}]}'),
        ),
        errors.ConnectionFailed("no way", sent=False),
        errors.EmbeddedFailed("held by another process", "data_directory_locked"),
        errors.TimeoutExceeded("late"),
    ],
)
def test_errors_travel_between_processes(error: errors.VdbSdkError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_errors_are_also_what_the_standard_library_calls_them() -> None:
    assert issubclass(errors.InvalidArgument, ValueError)
    assert issubclass(errors.ConnectionFailed, ConnectionError)
    assert issubclass(errors.TimeoutExceeded, TimeoutError)
