"""Tests of what a type claims are collected only for types that claim it: not skipped, not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["claim", "drop_unclaimed", "promise_of", "promises"]

TestT = TypeVar("TestT", bound="Callable[..., None]")


def claim(name: str) -> Callable[[TestT], TestT]:
    """Mark a test of a capability: it is collected only for types that claim it."""

    def mark(test: TestT) -> TestT:
        test.__dict__["claim"] = name
        return test

    return mark


def drop_unclaimed(suite: type, capabilities: object) -> None:
    """Take the tests of claims away that a type does not make."""
    for name in dir(suite):
        claimed = getattr(getattr(suite, name), "claim", None)
        if claimed is not None and not getattr(capabilities, claimed):
            setattr(suite, name, None)


def promise_of(test: object) -> str:
    """What a test checks: the first sentence of its docstring."""
    return (getattr(test, "__doc__", None) or "").strip().split("\n", 1)[0]


def promises(suite: type) -> dict[str, tuple[str, str]]:
    """The tests of a suite: name to promise, and to the capability that must be claimed (or nothing)."""
    tests = {name: getattr(suite, name) for name in dir(suite) if name.startswith("test_")}
    return {
        name: (promise_of(test), getattr(test, "claim", ""))
        for name, test in tests.items()
        if test is not None
    }
