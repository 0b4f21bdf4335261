"""Index types with one planted fault each in what they answer; `test_planted_faults.py` runs this file."""

from __future__ import annotations

import ctypes
import time
from typing import Annotated, Any, ClassVar

import numpy as np
from planted_kit import Honest, suites
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from vdb_core.indexes import NO_SLOT, NumpyExactIndex, bitmap
from vdb_core.plugins import Capabilities


class ReturnsRowsThatAreNotAllowed(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        slots, distances = super().search(queries, k, allowed=allowed)
        if allowed is not None and len(self.rows) and k > 1:
            slots[:, -1], distances[:, -1] = NO_SLOT, np.inf
            stray = next((s for s in range(len(self.rows)) if s not in slots), None)
            if stray is not None and (slots[:, -2] != NO_SLOT).all():
                slots[:, -1] = stray
        return slots, distances


class IgnoresTheBitmap(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        return super().search(queries, k)


class ReturnsSignedSlots(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        slots, distances = super().search(queries, k, allowed=allowed)
        return slots.astype(np.int64), distances


class ReturnsFewerColumns(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        return super().search(queries, min(k, max(1, len(self.rows))), allowed=allowed)


class ReturnsTheFarthestFirst(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        slots, distances = super().search(queries, k, allowed=allowed)
        for row, told in zip(slots, distances, strict=True):
            found = int((row != NO_SLOT).sum())
            row[:found], told[:found] = row[:found][::-1].copy(), told[:found][::-1].copy()
        return slots, distances


class PadsWithZeroDistance(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        slots, distances = super().search(queries, k, allowed=allowed)
        distances[slots == NO_SLOT] = np.finfo(np.float32).max
        return slots, distances


class RepeatsARow(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        slots, distances = super().search(queries, k, allowed=allowed)
        if k == 10:
            slots[:, 1:2], distances[:, 1:2] = slots[:, :1], distances[:, :1]
        return slots, distances


class ReturnsARowThatIsNotThere(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        slots, distances = super().search(queries, k, allowed=allowed)
        if k == 1 and len(self.rows):
            slots[:] = len(self.rows)
        return slots, distances


class PrefersLargerSlots(Honest):
    claims = Capabilities(native_filter=True)

    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        slots, distances = super().search(queries, k, allowed=allowed)
        signed = np.where(slots == NO_SLOT, 1, -slots.astype(np.int64))
        order = np.lexsort((signed, distances), axis=1)
        return np.take_along_axis(slots, order, axis=1), np.take_along_axis(distances, order, axis=1)


class CallsFloat32Exact(Honest):
    """The usual kernel: float32 all the way, and believed to be exact."""

    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        with np.errstate(all="ignore"):
            dots = queries @ self.rows.T
            near = -dots if self.metric == "dot" else 1 - dots
            if self.metric == "l2":
                near = np.square(queries[:, None, :] - self.rows[None]).sum(axis=2, dtype=np.float32)
        near = np.nan_to_num(near, nan=np.inf)
        slots = np.full((len(queries), k), NO_SLOT, np.uint32)
        distances = np.full((len(queries), k), np.inf, np.float32)
        for position in range(len(queries)):
            chosen = np.arange(len(self.rows))
            if allowed is not None:
                chosen = np.flatnonzero(
                    np.unpackbits(allowed.view(np.uint8), bitorder="little")[: len(self.rows)]
                )
            best = chosen[np.argsort(near[position, chosen], kind="stable")[:k]]
            slots[position, : len(best)], distances[position, : len(best)] = best, near[position, best]
        return slots, distances


class ForgetsARow(Honest):
    """Says it is exact and never finds the last row."""

    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        index = NumpyExactIndex(self.rows[:-1], metric=self.metric)
        if allowed is not None:
            return super().search(queries, k, allowed=allowed)
        return index.search(queries, k)


class EstimatesDistances(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        slots, distances = super().search(queries, k, allowed=allowed)
        return slots, distances + np.where(np.isfinite(distances), np.abs(distances) * np.float32(0.01), 0)


class HoldsTheGil(Honest):
    claims = Capabilities(releases_gil=True)

    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        if len(queries) < 16:
            return super().search(queries, k, allowed=allowed)
        # Called through PyDLL, a C function keeps the GIL.
        ctypes.PyDLL(None).usleep(500_000)
        return None


class DependsOnThreads(Honest):
    claims = Capabilities(deterministic=True)

    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        return NumpyExactIndex(self.rows[: len(self.rows) // threads], metric=self.metric).search(queries, k)


class SharesABuffer(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        self.asked = queries
        time.sleep(0.001)
        return super().search(self.asked, k, allowed=allowed) if len(self.asked) == len(queries) else None


class LaxParams(BaseModel):
    effort: int = 1


class TakesAnyParameter(Honest):
    fields: ClassVar[dict[str, Any]] = {"search_params": LaxParams}


class BreaksOnParameters(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        slots, distances = super().search(queries, k, allowed=allowed)
        return (
            (slots, distances)
            if params is None or params.effort == 1
            else (slots[:, ::-1], distances[:, ::-1])
        )


class FindsHalf(Honest):
    claims = Capabilities(native_filter=True, deterministic=True)

    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        if allowed is not None:
            return super().search(queries, k, allowed=allowed)
        return NumpyExactIndex(self.rows[: len(self.rows) // 2], metric=self.metric).search(queries, k)


class TakesItForEuclid(Honest):
    """Says it serves dot, and ranks by Euclidean distance."""

    claims = Capabilities(native_filter=True, deterministic=True)
    fields: ClassVar[dict[str, Any]] = {"metrics": frozenset({"dot"})}
    floor = 0.0

    def __init__(self, rows, metric):
        super().__init__(rows, "l2")


class HasDefaultsOfItsOwn(Honest):
    claims = Capabilities(native_filter=True, deterministic=True)

    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        if params is None and allowed is None and k == 10:
            return NumpyExactIndex(self.rows[:-40], metric=self.metric).search(queries, k)
        return super().search(queries, k, allowed=allowed)


class LongParams(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    stride: int = Field(1, ge=0, le=100)


class DividesByItsParameter(Honest):
    fields: ClassVar[dict[str, Any]] = {"params": LongParams}

    @classmethod
    def build(cls, rows, *, metric, params, seed, threads, progress, cancelled):
        _ = len(rows) // params.stride
        return super().build(
            rows,
            metric=metric,
            params=params,
            seed=seed,
            threads=threads,
            progress=progress,
            cancelled=cancelled,
        )


class WideSearchParams(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    effort: int = Field(1, ge=1, le=1000)


class TakesEffortForASlot(Honest):
    fields: ClassVar[dict[str, Any]] = {"search_params": WideSearchParams}

    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        if params is not None and params.effort > 100:
            return self.rows[params.effort]
        return super().search(queries, k, allowed=allowed)


class Converting(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    effort: Annotated[
        int, BeforeValidator(lambda value: int(value) if isinstance(value, float) else value)
    ] = 1


class RoundsWhatItIsGiven(Honest):
    fields: ClassVar[dict[str, Any]] = {"search_params": Converting}


class IsPoisonedByABadQuery(Honest):
    poisoned = False

    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        self.poisoned = self.poisoned or not np.isfinite(queries).all()
        slots, distances = super().search(queries, k, allowed=allowed)
        return (
            (slots[:, ::-1], distances[:, ::-1])
            if self.poisoned and len(self.rows) > 1
            else (slots, distances)
        )


class BelievesEveryBit(Honest):
    def search(self, queries, k, *, allowed=None, params=None, threads=1):
        slots, distances = super().search(queries, k, allowed=None if allowed is None else self.cut(allowed))
        if allowed is not None:
            beyond = [slot for slot in bitmap.to_slots(allowed) if slot >= len(self.rows)]
            slots[:, : len(beyond)] = beyond[:k]
        return slots, distances

    def cut(self, allowed):
        words = np.zeros(bitmap.words_for(len(self.rows)), np.uint64)
        words[: len(allowed)] = allowed[: len(words)]
        return words & bitmap.full(len(self.rows))


globals().update(suites(each for each in list(globals().values()) if each is not Honest))
