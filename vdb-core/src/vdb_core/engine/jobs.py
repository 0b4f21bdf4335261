"""Jobs: work in the background with a state, progress, and a way to stop it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Literal, final

from vdb_core.domain import format_time, now_us
from vdb_core.errors import BuildCancelled, JobNotFound

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Job", "JobKind", "JobRegistry", "JobState"]

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
JobKind = Literal["index", "fold", "snapshot"]
_KEPT: Final = 1_000


@final
class Job:
    """One piece of background work. Safe to read from any thread."""

    def __init__(self, job_id: str, library_id: str, kind: JobKind) -> None:
        self.id = job_id
        self.library_id = library_id
        self.kind: JobKind = kind
        self.state: JobState = "queued"
        self.phase = "queued"
        self.progress = 0.0
        self.error: str | None = None
        self.error_code: str | None = None
        self.created_at = now_us()
        self.finished_at: int | None = None
        self._started = time.monotonic()
        self._cancel = threading.Event()
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[Job], None]] = []

    @property
    def finished(self) -> bool:
        """Whether it will not change any more."""
        return self._done.is_set()

    @property
    def eta_s(self) -> float | None:
        """Seconds until it is probably done, or none where that cannot be told."""
        if self.finished:
            return 0.0
        if self.state != "running" or self.progress < 0.01:
            return None
        return round((time.monotonic() - self._started) * (1.0 - self.progress) / self.progress, 1)

    def start(self) -> None:
        """Mark it as running; raises ``BuildCancelled`` where it was cancelled while it waited."""
        if self._cancel.is_set():
            raise BuildCancelled("The job was cancelled before it began.")
        self.state = "running"
        self._started = time.monotonic()

    def report(self, phase: str, done: int, total: int) -> None:
        """Take in how far the present phase is."""
        self.phase = phase
        if total > 0:
            # Progress never goes backwards, whatever the phases say of themselves.
            self.progress = max(self.progress, min(0.99, done / total))

    def cancel(self) -> None:
        """Ask it to stop; a job that is past stopping finishes."""
        self._cancel.set()

    def cancelled(self) -> bool:
        """Whether it was asked to stop."""
        return self._cancel.is_set()

    def finish(self, state: JobState, error: BaseException | None = None) -> None:
        """Mark it as ended and tell those who wait."""
        with self._lock:
            self.state = state
            self.phase = state
            if state == "succeeded":
                self.progress = 1.0
            if error is not None:
                self.error = str(error) or type(error).__name__
                self.error_code = getattr(error, "code", "internal_error")
            self.finished_at = now_us()
            self._done.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; false where the time in seconds ran out first."""
        return self._done.wait(timeout)

    def add_done_callback(self, callback: Callable[[Job], None]) -> None:
        """Call back once it has ended, at once where it already has; from whatever thread ends it."""
        with self._lock:
            if not self._done.is_set():
                self._callbacks.append(callback)
                return
        callback(self)

    def to_json(self) -> dict[str, object]:
        """The job in the form of the REST API."""
        return {
            "id": self.id,
            "library_id": self.library_id,
            "kind": self.kind,
            "state": self.state,
            "phase": self.phase,
            "progress": round(self.progress, 4),
            "eta_s": self.eta_s,
            "error": self.error,
            "error_code": self.error_code,
            "created_at": format_time(self.created_at),
            "finished_at": None if self.finished_at is None else format_time(self.finished_at),
        }


@final
class JobRegistry:
    """Jobs by id; finished ones are kept until there are more than a thousand."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._ended: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def add(self, job: Job) -> Job:
        """Keep a job."""
        with self._lock:
            self._jobs[job.id] = job
            if len(self._jobs) > _KEPT:
                for job_id in [one.id for one in self._jobs.values() if one.finished][
                    : len(self._jobs) - _KEPT
                ]:
                    del self._jobs[job_id]
        job.add_done_callback(self._count)
        return job

    def get(self, job_id: str) -> Job:
        """The job of an id; raises ``JobNotFound``."""
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            raise JobNotFound(f"No job has the id {job_id!r}; finished jobs are kept for a while only.")
        return job

    def all(self) -> list[Job]:
        """Every job that is kept, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def ended(self) -> dict[tuple[str, str], int]:
        """How many jobs have ended, by kind and state, those that are not kept any more included."""
        with self._lock:
            return dict(self._ended)

    def _count(self, job: Job) -> None:
        with self._lock:
            key = (job.kind, job.state)
            self._ended[key] = self._ended.get(key, 0) + 1
