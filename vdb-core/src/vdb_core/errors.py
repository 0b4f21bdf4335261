"""The one exception tree of vdb, grouped by who must act: the caller, the operator, or the author of a plugin.

    VdbError
    ├── CallerError                     the request is wrong; nothing was changed
    │   ├── ValidationFailed            validation_failed        every fault found, each with its pointer
    │   ├── NotFound                    not_found
    │   │   ├── LibraryNotFound         library_not_found
    │   │   ├── DocumentNotFound        document_not_found
    │   │   ├── ChunkNotFound           chunk_not_found
    │   │   └── JobNotFound             job_not_found
    │   ├── AlreadyExists               already_exists
    │   ├── RevisionMismatch            revision_mismatch        If-Match named another revision
    │   ├── BuildInProgress             build_in_progress        carries the running job's id
    │   ├── IdempotencyKeyInUse         idempotency_key_in_use   the write with this key is being made
    │   └── IdempotencyKeyReused        idempotency_key_reused   another request had this key
    ├── OperatorError                   the installation or the machine needs somebody
    │   ├── WriteQueueFull              write_queue_full         try again after a moment
    │   ├── StorageFull                 storage_full             no room on the disk; reads go on
    │   ├── StorageFailed               storage_failed           the storage refused; nothing of the write is there
    │   │   ├── StorageBroken           storage_broken           so that nothing more is written until a restart
    │   │   │   └── WriteUncertain      write_uncertain          a flush failed: kept or not, a restart tells
    │   │   └── StorageReadOnly         storage_read_only        refused since an earlier failure; reads go on
    │   ├── DataDirectoryLocked         data_directory_locked
    │   ├── FormatUnsupported           format_unsupported       a newer vdb wrote it
    │   ├── SnapshotDamaged             snapshot_damaged
    │   ├── EmbedderUnavailable         embedder_unavailable     its model cannot be found or opened
    │   └── EngineClosed                engine_closed
    └── PluginError                     plugin_error             the author of a plugin must act
        ├── PluginIncompatible          plugin_incompatible
        ├── PluginConflict              plugin_conflict          two distributions claim one name
        ├── IndexDamaged                index_damaged            the files of an index are not what it wrote
        └── BuildCancelled              build_cancelled          raised by a build that was asked to stop

Each class has a stable ``code``. The core knows no HTTP: the server maps classes to status codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AlreadyExists",
    "BuildCancelled",
    "BuildInProgress",
    "CallerError",
    "ChunkNotFound",
    "DataDirectoryLocked",
    "DocumentNotFound",
    "EmbedderUnavailable",
    "EngineClosed",
    "Fault",
    "FormatUnsupported",
    "IdempotencyKeyInUse",
    "IdempotencyKeyReused",
    "IndexDamaged",
    "JobNotFound",
    "LibraryNotFound",
    "NotFound",
    "OperatorError",
    "PluginConflict",
    "PluginError",
    "PluginIncompatible",
    "RevisionMismatch",
    "SnapshotDamaged",
    "StorageBroken",
    "StorageFailed",
    "StorageFull",
    "StorageReadOnly",
    "ValidationFailed",
    "VdbError",
    "WriteQueueFull",
    "WriteUncertain",
]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request."""

    pointer: str
    """RFC 6901 JSON Pointer to the offending value within the request body; ``""`` is the whole body."""

    detail: str
    """What was expected, what was received, what to do."""


class VdbError(Exception):
    """Base of every error that vdb raises on purpose."""

    code: ClassVar[str] = "vdb_error"


class CallerError(VdbError):
    """The request cannot be carried out as it stands; the state is as it was."""

    code: ClassVar[str] = "caller_error"

    def __init__(self, message: str, *, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.faults: tuple[Fault, ...] = tuple(faults)


class ValidationFailed(CallerError):
    """One or more values are not acceptable; ``faults`` lists every one of them."""

    code: ClassVar[str] = "validation_failed"

    @classmethod
    def of(cls, faults: Sequence[Fault]) -> ValidationFailed:
        """Make the error from its faults; the message names the first and counts the rest."""
        first = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        where = f"{first.pointer}: " if first.pointer else ""
        return cls(f"{where}{first.detail}{more}", faults=faults)

    @classmethod
    def at(cls, pointer: str, detail: str) -> ValidationFailed:
        """Make the error from a single fault."""
        return cls.of([Fault(pointer, detail)])


class NotFound(CallerError):
    """A named entity does not exist."""

    code: ClassVar[str] = "not_found"


class LibraryNotFound(NotFound):
    """No library has this id."""

    code: ClassVar[str] = "library_not_found"


class DocumentNotFound(NotFound):
    """No document of the library has this id."""

    code: ClassVar[str] = "document_not_found"


class ChunkNotFound(NotFound):
    """No chunk of the library has this id."""

    code: ClassVar[str] = "chunk_not_found"


class JobNotFound(NotFound):
    """No job has this id (finished jobs are kept for a while only)."""

    code: ClassVar[str] = "job_not_found"


class AlreadyExists(CallerError):
    """The id is taken."""

    code: ClassVar[str] = "already_exists"


class RevisionMismatch(CallerError):
    """The entity is at another revision than the caller expects."""

    code: ClassVar[str] = "revision_mismatch"


class BuildInProgress(CallerError):
    """The library is being indexed already."""

    code: ClassVar[str] = "build_in_progress"

    def __init__(self, message: str, *, job_id: str) -> None:
        super().__init__(message)
        self.job_id: str = job_id


class IdempotencyKeyInUse(CallerError):
    """A write with the same idempotency key is being made; its answer comes when it is asked for again."""

    code: ClassVar[str] = "idempotency_key_in_use"


class IdempotencyKeyReused(CallerError):
    """The idempotency key came with another request before."""

    code: ClassVar[str] = "idempotency_key_reused"


class OperatorError(VdbError):
    """Whoever runs this installation must act."""

    code: ClassVar[str] = "operator_error"


class WriteQueueFull(OperatorError):
    """More writes are waiting than the engine is set to hold."""

    code: ClassVar[str] = "write_queue_full"

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after: float = retry_after


class StorageFull(OperatorError):
    """The disk is full: the write was not acknowledged and left nothing behind."""

    code: ClassVar[str] = "storage_full"


class StorageFailed(OperatorError):
    """The storage below refused an operation."""

    code: ClassVar[str] = "storage_failed"


class StorageBroken(StorageFailed):
    """The storage failed to write or to flush; the operation left nothing, and no further one may be tried.

    What a failed fsync left in memory counts as clean to the operating system, so that a second fsync would answer
    for data that never reached the device.
    """

    code: ClassVar[str] = "storage_broken"


class WriteUncertain(StorageBroken):
    """A write was handed over and its flush failed: it is seen by nobody now, and a restart may find it or not."""

    code: ClassVar[str] = "write_uncertain"


class StorageReadOnly(StorageFailed):
    """Refused, and nothing of it is there: the storage failed before, and nothing is written until a restart."""

    code: ClassVar[str] = "storage_read_only"


class DataDirectoryLocked(OperatorError):
    """Another process holds the data directory."""

    code: ClassVar[str] = "data_directory_locked"


class FormatUnsupported(OperatorError):
    """The files were written in a format that this version does not know."""

    code: ClassVar[str] = "format_unsupported"


class SnapshotDamaged(OperatorError):
    """A snapshot is not what its manifest says."""

    code: ClassVar[str] = "snapshot_damaged"


class EmbedderUnavailable(OperatorError):
    """An embedder cannot be opened: its model is not there, or not what it should be."""

    code: ClassVar[str] = "embedder_unavailable"


class EngineClosed(OperatorError):
    """The engine was closed; open it again."""

    code: ClassVar[str] = "engine_closed"


class PluginError(VdbError):
    """A plugin did something that its contract forbids."""

    code: ClassVar[str] = "plugin_error"


class PluginIncompatible(PluginError):
    """The plugin was made for another version of the plugin interface."""

    code: ClassVar[str] = "plugin_incompatible"


class PluginConflict(PluginError):
    """Two distributions register the same name."""

    code: ClassVar[str] = "plugin_conflict"


class IndexDamaged(PluginError):
    """The files of a saved index are missing, truncated, or contradict each other."""

    code: ClassVar[str] = "index_damaged"


class BuildCancelled(PluginError):
    """A build stopped because ``cancelled()`` returned true."""

    code: ClassVar[str] = "build_cancelled"
