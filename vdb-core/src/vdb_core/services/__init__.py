"""What the server calls: libraries, indexing, queries. Reads answer at once, writes through a future."""

from __future__ import annotations

from vdb_core.engine.answers import KeptAnswer, Once
from vdb_core.engine.jobs import Job
from vdb_core.engine.memory import release_memory, return_memory_early
from vdb_core.services.indexing import IndexingService
from vdb_core.services.libraries import LibraryService
from vdb_core.services.measuring import Measurements
from vdb_core.services.opening import Services, open_services
from vdb_core.services.queries import QueryService
from vdb_core.services.results import DeleteResult, Export, Page, SearchAnswer, UpsertResult, WouldBlock
from vdb_core.services.settings import DURABILITIES, Durability, EngineSettings, Limits
from vdb_core.services.transfer import Imported, Kept

__all__ = [
    "DURABILITIES",
    "DeleteResult",
    "Durability",
    "EngineSettings",
    "Export",
    "Imported",
    "IndexingService",
    "Job",
    "Kept",
    "KeptAnswer",
    "LibraryService",
    "Limits",
    "Measurements",
    "Once",
    "Page",
    "QueryService",
    "SearchAnswer",
    "Services",
    "UpsertResult",
    "WouldBlock",
    "open_services",
    "release_memory",
    "return_memory_early",
]
