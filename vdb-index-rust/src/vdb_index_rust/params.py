"""The parameters of each algorithm: validation, OpenAPI text and forms come from these models."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["BruteParams", "BruteSearchParams"]


class BruteParams(BaseModel):
    """``brute`` has nothing to choose when it is built."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BruteSearchParams(BaseModel):
    """``brute`` has nothing to choose when it is searched."""

    model_config = ConfigDict(extra="forbid", frozen=True)
