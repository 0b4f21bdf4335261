"""The parameters of each algorithm: validation, OpenAPI text and forms come from these models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "BruteParams",
    "BruteSearchParams",
    "IvfFlatParams",
    "IvfFlatSearchParams",
    "IvfPqParams",
    "IvfPqSearchParams",
]

_N_LISTS = Annotated[
    int | None,
    Field(
        ge=1,
        le=1_048_576,
        title="Lists",
        description=(
            "How many lists the rows are sorted into. More lists make a search cheaper and the build longer. "
            "At most the number of rows are made. Default: twice the square root of the number of rows, "
            "with at least 16 rows a list."
        ),
    ),
]

_N_PROBES = Annotated[
    int | None,
    Field(
        ge=1,
        title="Probes",
        description=(
            "How many of the lists nearest to the query are searched; the number of lists or more means all. "
            "More probes find more of the true neighbours and take longer. Lists without an allowed row do not "
            "count; a filter multiplies the number, by 2.4 in ivf_flat and 2.1 in ivf_pq where it leaves a tenth of the "
            "rows, because the nearest allowed rows lie in more lists; and lists are searched until k rows were seen. "
            "Default: 18 n_lists^0.22 (58 of 200 lists), which finds at least 95 % of the true neighbours on embeddings of texts."
        ),
    ),
]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class BruteParams(_Model):
    """How ``brute`` is built."""

    codes: Annotated[
        bool,
        Field(
            title="Codes",
            description=(
                "Keep the rows as int8 codes as well: several times quicker and as exact, for a quarter more memory. "
                "False does without that memory. None are kept below 512 rows or below 96 dimensions."
            ),
        ),
    ] = True


class BruteSearchParams(_Model):
    """``brute`` has nothing to choose when it is searched."""


class IvfFlatParams(_Model):
    """How ``ivf_flat`` is built."""

    n_lists: _N_LISTS = None

    codes: Annotated[
        bool,
        Field(
            title="Codes",
            description=(
                "Keep the rows as int8 codes as well: several times quicker with the same answer, for a quarter more "
                "memory. Up to 4,096 rows, below 80 dimensions, and where lists hold a few rows each there are none."
            ),
        ),
    ] = True


class IvfFlatSearchParams(_Model):
    """How ``ivf_flat`` is searched."""

    n_probes: _N_PROBES = None


class IvfPqParams(_Model):
    """How ``ivf_pq`` is built."""

    n_lists: _N_LISTS = None

    n_subvectors: int | None = Field(
        default=None,
        ge=1,
        le=8192,
        title="Pieces",
        description=(
            "How many pieces a row is cut into; each piece is replaced by a code. At most the number of "
            "dimensions, which it need not divide. More pieces give better estimates and longer codes. Default: "
            "two bits a dimension up to 192 dimensions, 96 pieces of 4 bits (48 of 8) up to 384, one bit a dimension from "
            "there on."
        ),
    )

    n_bits: Literal[4, 8] = Field(
        default=4,
        title="Bits a piece",
        description=(
            "Size of a code: 4 bits (16 codewords a piece, looked up within processor registers) or 8 bits (256 "
            "codewords: better estimates for the same space, about three times the search time)."
        ),
    )

    codes: Annotated[
        bool,
        Field(
            title="Codes for re-ranking",
            description=(
                "Keep the rows as int8 codes as well, by which candidates are re-ranked before the best are compared by "
                "their full rows: quicker with the same answer, for a quarter more memory. None are kept up to "
                "4,096 rows or below 80 dimensions."
            ),
        ),
    ] = True


class IvfPqSearchParams(_Model):
    """How ``ivf_pq`` is searched."""

    n_probes: _N_PROBES = None

    rerank: int | None = Field(
        default=None,
        ge=0,
        title="Re-ranked rows",
        description=(
            "How many of the best candidates are compared by their full rows; at least k are. 0: none, the order "
            "is that of the estimates. Default: 8 k + 40."
        ),
    )
