# Written by vdb-sdk/scripts/unasync.py from _async/jobs.py: change that file, then run the script.
# fmt: off
# ruff: noqa: I001, UP028, RUF100
"""Background jobs: builds of an index, snapshots."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vdb_sdk import _request_parts, _requests, _responses
from vdb_sdk._progress import Progress, ProgressCallback, reporter
from vdb_sdk._sleep import sleep
from vdb_sdk.errors import JobCancelled, JobFailed, TimeoutExceeded

if TYPE_CHECKING:
    from vdb_sdk._sync.session import Session
    from vdb_sdk.models import JobState, JobStatus

__all__ = ["Job"]

_FIRST_POLL_S = 0.005
_SLOWEST_POLL_S = 0.5


class Job:
    """A job that the server works on; `status` is what it said last."""

    def __init__(self, session: Session, status: JobStatus) -> None:
        self._session: Session = session
        self._status: JobStatus = status

    @property
    def status(self) -> JobStatus:
        """What the server said last; `refresh` asks again."""
        return self._status

    @property
    def id(self) -> str:
        """Id of the job."""
        return self._status.id

    @property
    def state(self) -> JobState:
        """``queued``, ``running``, ``succeeded``, ``failed`` or ``cancelled``, as of the last answer."""
        return self._status.state

    @property
    def progress(self) -> float:
        """0 to 1, as of the last answer."""
        return self._status.progress

    def __repr__(self) -> str:
        status = self._status
        return (
            f"{type(self).__name__}(id={status.id!r}, state={status.state!r}, progress={status.progress:.2f})"
        )

    def refresh(self) -> Job:
        """Ask the server how far it is."""
        request = _request_parts.get(_requests.job_path(self._status.id))
        self._status = self._session.call(request, _responses.job)
        return self

    def cancel(self) -> Job:
        """Ask the server to stop it; it may still take a moment, and `wait` then raises `JobCancelled`."""
        self._session.send(_request_parts.delete(_requests.job_path(self._status.id)))
        return self.refresh()

    def wait(
        self,
        timeout: float | None = None,  # noqa: ASYNC109  # sync and async are called alike
        *,
        progress: bool | ProgressCallback = False,
    ) -> Job:
        """Wait for its end.

        Args:
            timeout: Seconds; ``None`` waits as long as it takes. The job goes on when the time is over.
            progress: True writes to standard error; a callable gets a `Progress` after each look.

        Raises:
            TimeoutExceeded: It had not ended in time.
            JobFailed: It ended with an error.
            JobCancelled: It was cancelled.
        """
        report = reporter(progress)
        began = time.monotonic()
        delay = _FIRST_POLL_S
        self.refresh()
        while True:
            elapsed = time.monotonic() - began
            if report is not None:
                report(_progress(self._status, elapsed))
            if self._status.finished:
                break
            if timeout is not None and elapsed >= timeout:
                status = self._status
                msg = f"Job {status.id} is {status.state} at {status.progress:.0%} after {timeout:g} s; it goes on."
                raise TimeoutExceeded(msg)
            sleep(delay if timeout is None else min(delay, max(0.0, timeout - elapsed)))
            delay = min(_SLOWEST_POLL_S, delay * 1.5)
            self.refresh()
        if self._status.state == "failed":
            msg = f"Job {self.id} ({self._status.kind or 'job'}) failed: {self._status.error or 'no reason was given'}"
            raise JobFailed(msg)
        if self._status.state == "cancelled":
            msg = f"Job {self.id} ({self._status.kind or 'job'}) was cancelled."
            raise JobCancelled(msg)
        return self


def _progress(status: JobStatus, elapsed: float) -> Progress:
    return Progress(
        phase=status.phase or status.kind or status.state,
        fraction=1.0 if status.state == "succeeded" else status.progress,
        elapsed_s=elapsed,
        eta_s=status.eta_s,
        finished=status.finished,
    )
