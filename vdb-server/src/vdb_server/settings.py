"""Settings of the server: environment variables that start with ``VDB_``, or keyword arguments of the same names."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from vdb_server.keys import read_key

if TYPE_CHECKING:
    from vdb_core.services import EngineSettings

__all__ = ["Settings", "is_loopback"]

Names = Annotated[frozenset[str], NoDecode]
"""A set of strings; in an environment variable they are separated by commas."""

Positive = Annotated[int, Field(ge=1)]


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen on can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Settings(BaseSettings):
    """Everything that can be set. Reading the environment happens when one is made, never at import."""

    model_config = SettingsConfigDict(env_prefix="VDB_", extra="forbid", frozen=True, env_ignore_empty=True)

    host: str = "127.0.0.1"
    """Address to listen on. One that others can reach needs ``api_key`` or ``insecure``."""

    port: int = Field(default=8000, ge=0, le=65_535)
    """Port to listen on; 0 takes a free one."""

    data_dir: Path = Path("./data")
    """Where libraries are kept."""

    durability: Literal["fsync", "os", "none"] = "fsync"
    """What a write has reached when it is answered: ``fsync`` the disk, ``os`` the operating system, ``none`` memory."""

    checkpoint_bytes: Positive = 256 << 20
    """A checkpoint is made when the journal holds more bytes than this that no snapshot has."""

    checkpoint_age_s: float = Field(default=3_600.0, gt=0)
    """A library is checkpointed when it has had unsaved writes for so many seconds."""

    checkpoint_on_close_s: float = Field(default=10.0, ge=0)
    """How long stopping may take to write what no snapshot has; the journal has it anyway. 0 = none of it, as embedded."""

    snapshot_store: str = "numpy"
    """Snapshot store, the built-in one or a plugin's. A data directory keeps the one that it was made with."""

    snapshot_store_params: dict[str, object] = {}
    """Settings of the snapshot store, as JSON: `{"SETTING": VALUE}`."""

    journal: str = "sqlite"
    """Journal, the built-in one or a plugin's. A data directory keeps the one that it was made with."""

    journal_params: dict[str, object] = {}
    """Settings of the journal, as JSON; a level of durability is told by `durability`."""

    api_key: SecretStr | None = None
    """May do everything. Without it nobody is asked for a key."""

    read_only_api_key: SecretStr | None = None
    """May read, which includes searching."""

    api_key_file: Path | None = None
    """File that holds ``api_key``, as Docker and Kubernetes hand over secrets."""

    read_only_api_key_file: Path | None = None
    """File that holds ``read_only_api_key``."""

    make_api_key: bool = False
    """Where a key is needed and none is given: make one, print it once, and keep it in the data directory."""

    insecure: bool = False
    """Listen beyond this machine without a key, knowingly."""

    allowed_hosts: Names = frozenset()
    """Host names (without port) that requests may be addressed to, beside the ones that are safe anyway; ``*`` = any."""

    allowed_origins: Names = frozenset()
    """Origins, as ``https://app.example``, whose pages may call the API from a browser."""

    plugins_disabled: Names = frozenset()
    """Plugins that are not loaded, by name of their entry point or their distribution."""

    workers: int = 1
    """Processes that serve one data directory. There can only be one; a larger number is refused."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe records that are written; ``debug`` has a line for each request."""

    log_format: Literal["auto", "console", "json"] = "auto"
    """``auto``: readable in a terminal, JSON elsewhere."""

    embedder: str | None = None
    """Embedder of libraries that chose none. Not set: the installed one, where there is exactly one."""

    embedder_params: dict[str, dict[str, object]] = {}
    """Settings of embedders by name, as JSON: `{"NAME": {"SETTING": VALUE}}`."""

    build_threads: Positive | None = None
    """Threads that build indexes; all cores but one when not set."""

    search_threads: Positive | None = None
    """Threads of one search over many queries; when not set one for each core, less one while single queries arrive."""

    max_body_bytes: Positive = 64 << 20
    """Largest request body."""

    max_bulk_body_bytes: Positive = 2 << 30
    """Largest body of ``chunks/bulk`` and ``libraries/import``."""

    header_timeout_s: Annotated[float, Field(gt=0)] = 20.0
    """Seconds within which the headers of a request arrive."""

    body_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds that a body may take, and one more for each 1,000 bytes of it; also how long a client may leave its answer unread."""

    max_k: Positive = 10_000
    """Most hits a query may ask for."""

    max_batch_rows: Positive = 10_000
    """Most rows of one ``chunks/upsert`` and most queries of one ``search/batch``."""

    max_dimension: Positive = 8_192
    """Longest embedding."""

    max_filter_depth: Positive = 16
    """Deepest nesting of a filter."""

    max_filter_nodes: Positive = 1_000
    """Most conditions in a filter."""

    max_json_depth: Positive = 32
    """Deepest nesting of a JSON body."""

    max_metadata_bytes: Positive = 65_536
    """Largest metadata of one entity, as JSON."""

    max_text_bytes: Positive = 1 << 20
    """Longest text of one chunk, as UTF-8."""

    idempotency_lifetime_s: float = Field(default=86_400.0, gt=0)
    """Seconds for which the answer to a write with an ``Idempotency-Key`` is remembered, where there is room."""

    idempotency_max_keys: Positive = 10_000
    """Answers that are remembered; the oldest go first."""

    idempotency_max_bytes: Positive = 16 << 20
    """Bytes that remembered answers may take, in memory and in the journal."""

    max_pending_writes: Positive = 1_024
    """Writes that may wait for the committer; beyond that a write gets 503 and ``Retry-After``."""

    @field_validator("allowed_hosts", "allowed_origins", "plugins_disabled", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(part.strip() for part in value.split(",") if part.strip())
        return value

    @model_validator(mode="before")
    @classmethod
    def _keys_from_files(cls, values: dict[str, object]) -> dict[str, object]:
        found = dict(values)
        for name in ("api_key", "read_only_api_key"):
            file = found.get(f"{name}_file")
            if file:
                if found.get(name):
                    variable = f"VDB_{name.upper()}"
                    raise ValueError(
                        f"{variable} and {variable}_FILE are both set: say which of the two is meant"
                    )
                found[name] = read_key(Path(str(file)))
        return found

    @field_validator("api_key", "read_only_api_key")
    @classmethod
    def _usable_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            text = value.get_secret_value()
            if not text or not text.isascii() or not text.isprintable() or text.strip() != text:
                raise ValueError(
                    "a key is printable ASCII without spaces around it: it travels in a header; choose another one"
                )
        return value

    @model_validator(mode="after")
    def _keys_differ(self) -> Self:
        if self.read_only_api_key is not None:
            if self.api_key is None:
                raise ValueError(
                    "VDB_READ_ONLY_API_KEY is set and VDB_API_KEY is not: nobody could write; set both"
                )
            if self.api_key.get_secret_value() == self.read_only_api_key.get_secret_value():
                raise ValueError(
                    "VDB_READ_ONLY_API_KEY equals VDB_API_KEY: readers could write; choose two keys"
                )
        return self

    @property
    def needs_key(self) -> bool:
        """Whether others can reach the server, nobody would be asked for a key, and nobody said that this is meant."""
        return not is_loopback(self.host) and self.api_key is None and not self.insecure

    def refusal(self) -> str | None:
        """Why a server must not start like this, or ``None`` where it may."""
        if self.workers > 1:
            return (
                f"{self.workers} worker processes were asked for, and one data directory is served by one process: "
                "leave the number at 1 (searches and builds use all cores by threads)."
            )
        if self.needs_key and not self.make_api_key:
            return (
                f"{self.host} can be reached from other machines and no API key is set: "
                "set VDB_API_KEY, listen on 127.0.0.1, or say --insecure."
            )
        return None

    def engine(self, *, in_memory: bool = False) -> EngineSettings:
        """Make the settings of the engine below."""
        from vdb_core.services import EngineSettings, Limits

        return EngineSettings(
            data_dir=None if in_memory else self.data_dir,
            durability=self.durability,
            snapshot_store=self.snapshot_store,
            snapshot_store_params=self.snapshot_store_params,
            journal=self.journal,
            journal_params=self.journal_params,
            checkpoint_bytes=self.checkpoint_bytes,
            checkpoint_age_s=self.checkpoint_age_s,
            checkpoint_on_close_s=self.checkpoint_on_close_s,
            embedder=self.embedder,
            embedder_params=self.embedder_params,
            build_threads=self.build_threads,
            search_threads=self.search_threads,
            idempotency_lifetime_s=self.idempotency_lifetime_s,
            idempotency_max_keys=self.idempotency_max_keys,
            idempotency_max_bytes=self.idempotency_max_bytes,
            limits=Limits(
                max_k=self.max_k,
                max_batch_rows=self.max_batch_rows,
                max_dimension=self.max_dimension,
                max_filter_depth=self.max_filter_depth,
                max_filter_nodes=self.max_filter_nodes,
                max_json_depth=self.max_json_depth,
                max_metadata_bytes=self.max_metadata_bytes,
                max_text_bytes=self.max_text_bytes,
                max_pending_writes=self.max_pending_writes,
            ),
        )
