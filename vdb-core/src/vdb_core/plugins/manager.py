"""Finds plugins, loads each on its own, checks what it returns, and answers what is there.

::

    load()  built-ins ─▶ entry points, by distribution and name
                          ├─ disabled?            reported, never imported
                          ├─ import               whatever it raises is reported
                          ├─ hooks                known names only, each called once, its records checked
                          └─ names free?          then, and only then, everything of the plugin is registered

A plugin registers as a whole or not at all, and no plugin can keep another from being loaded.
"""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar, cast, final

import pluggy

from vdb_core import __version__
from vdb_core.errors import PluginConflict, PluginError, PluginIncompatible, ValidationFailed
from vdb_core.plugins import hookspec
from vdb_core.plugins.describe import describe_index_type
from vdb_core.plugins.discovery import Candidate, candidate_of, installed, normalized
from vdb_core.plugins.params import closest
from vdb_core.plugins.report import PluginReport, PluginState
from vdb_core.plugins.validation import KINDS, AnyType, check_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from importlib.metadata import EntryPoint

    from vdb_core.plugins.records import EmbedderType, IndexType, JournalType, SnapshotStoreType

__all__ = ["DISABLED_VARIABLE", "PluginManager"]

DISABLED_VARIABLE: Final = "VDB_PLUGINS_DISABLED"
"""Environment variable: names of entry points or distributions that are not to be imported, with commas."""

_IN_PROCESS: Final = "this process"
_BUILTIN: Final = Candidate(
    name="builtin",
    distribution="vdb-core",
    version=__version__,
    module="vdb_core.plugins.builtin",
    entry_point=None,
)

RecordT = TypeVar("RecordT", bound=AnyType)


@final
class PluginManager:
    """What is installed, by kind and name. Safe to use from many threads; nothing is loaded until ``load()``.

    Args:
        disabled: names of entry points or distributions that are not to be imported.
        entry_points: where entry points come from; ``None`` means every installed distribution, and
            ``lambda: ()`` nothing, which is what a test wants that must not see what happens to be installed.
    """

    def __init__(
        self,
        *,
        disabled: Iterable[str] = (),
        entry_points: Callable[[], Iterable[EntryPoint]] | None = None,
    ) -> None:
        self._disabled: dict[str, str] = {normalized(name): name for name in disabled}
        self._entry_points = entry_points
        self._lock = threading.RLock()
        self._loaded = False
        self._builtins_loaded = False
        self._reports: list[PluginReport] = []
        self._names: dict[str, str] = {}
        self._records: dict[str, dict[str, AnyType]] = {kind: {} for kind, _ in KINDS.values()}
        self._distributions: dict[tuple[str, str], str] = {}
        self._unmatched: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> PluginManager:
        """Make a manager that honours ``VDB_PLUGINS_DISABLED`` (``name,name``); it is not loaded yet."""
        text = (os.environ if environment is None else environment).get(DISABLED_VARIABLE, "")
        return cls(disabled=[name for part in text.split(",") if (name := part.strip())])

    def load(self) -> None:
        """Load the built-ins, then each entry point that is not disabled; a second call does nothing.

        Raises nothing on account of a plugin: what became of each is in :meth:`reports`.
        """
        with self._lock:
            if self._loaded:
                return
            self._loaded = True
            self._load_builtins()
            matched: set[str] = set()
            for candidate in self._candidates():
                names = {normalized(candidate.name), normalized(candidate.distribution)}
                switched_off = names & self._disabled.keys()
                if switched_off:
                    matched |= switched_off
                    told = ", ".join(sorted(self._disabled[name] for name in switched_off))
                    self._report(
                        candidate, "disabled", f"switched off by the name {told}; it was not imported"
                    )
                else:
                    self._load(candidate)
            self._unmatched = tuple(sorted(self._disabled[name] for name in self._disabled.keys() - matched))

    def register(self, plugin: object, *, name: str) -> PluginReport:
        """Register a plugin that is no installed distribution: for tests and for embedding.

        Raises:
            PluginConflict: the name of the plugin, or of something it provides, is taken.
            PluginIncompatible: it is made for another version of the plugin interface.
            PluginError: it has no hooks, an unknown hook, or a hook that fails or returns what it may not.
        """
        with self._lock:
            self._load_builtins()
            candidate = Candidate(
                name=name,
                distribution=_IN_PROCESS,
                version=None,
                module=str(getattr(plugin, "__name__", type(plugin).__qualname__)),
                entry_point=None,
            )
            began = time.perf_counter()
            try:
                provides = self._register(candidate, plugin)
            except PluginError as error:
                self._report(candidate, _state_of(error), str(error))
                raise
            return self._report(candidate, "loaded", None, provides, time.perf_counter() - began)

    def reports(self) -> list[PluginReport]:
        """Tell what became of each plugin, in the order in which they were tried."""
        with self._lock:
            return list(self._reports)

    @property
    def unmatched_disabled(self) -> tuple[str, ...]:
        """Names that were to be disabled and that no plugin has: a typing error, or a built-in, which stays."""
        return self._unmatched

    @property
    def index_types(self) -> Mapping[str, IndexType]:
        """Index types by name."""
        return cast("Mapping[str, IndexType]", MappingProxyType(self._records["index_type"]))

    @property
    def snapshot_stores(self) -> Mapping[str, SnapshotStoreType]:
        """Snapshot stores by name."""
        return cast("Mapping[str, SnapshotStoreType]", MappingProxyType(self._records["snapshot_store"]))

    @property
    def journals(self) -> Mapping[str, JournalType]:
        """Journals by name."""
        return cast("Mapping[str, JournalType]", MappingProxyType(self._records["journal"]))

    @property
    def embedders(self) -> Mapping[str, EmbedderType]:
        """Embedders by name."""
        return cast("Mapping[str, EmbedderType]", MappingProxyType(self._records["embedder"]))

    def index_type(self, name: object, *, pointer: str = "") -> IndexType:
        """Look an index type up; ``ValidationFailed`` at ``pointer`` names the known ones."""
        return self._find(self.index_types, "index type", name, pointer)

    def snapshot_store(self, name: object, *, pointer: str = "") -> SnapshotStoreType:
        """Look a snapshot store up; ``ValidationFailed`` at ``pointer`` names the known ones."""
        return self._find(self.snapshot_stores, "snapshot store", name, pointer)

    def journal(self, name: object, *, pointer: str = "") -> JournalType:
        """Look a journal up; ``ValidationFailed`` at ``pointer`` names the known ones."""
        return self._find(self.journals, "journal", name, pointer)

    def embedder(self, name: object, *, pointer: str = "") -> EmbedderType:
        """Look an embedder up; ``ValidationFailed`` at ``pointer`` names the known ones."""
        return self._find(self.embedders, "embedder", name, pointer)

    def describe_index_types(self) -> list[dict[str, object]]:
        """Describe every index type as ``GET /v1/index-types`` shows it, by name."""
        return [
            describe_index_type(record, distribution=self._distributions["index_type", name])
            for name, record in sorted(self.index_types.items())
        ]

    def _find(self, known: Mapping[str, RecordT], what: str, name: object, pointer: str) -> RecordT:
        if isinstance(name, str) and (record := known.get(name)) is not None:
            return record
        if not isinstance(name, str):
            received = type(name).__name__
            raise ValidationFailed.at(
                pointer, f"the name of the {what} is a string; received a value of type {received}"
            )
        meant = closest(name, known)
        hint = f" Did you mean {meant!r}?" if meant else ""
        broken = [report.name for report in self.reports() if report.state not in {"loaded", "disabled"}]
        also = (
            f". Plugins that could not be loaded (see `vdb plugins`): {', '.join(broken)}" if broken else ""
        )
        available = ", ".join(sorted(known)) or "none"
        raise ValidationFailed.at(pointer, f"No {what} named {name!a}.{hint} Available: {available}{also}")

    def _load_builtins(self) -> None:
        if self._builtins_loaded:
            return
        self._builtins_loaded = True
        from vdb_core.plugins import builtin

        # Not isolated: where these fail, the installation is broken and nothing else can help.
        began = time.perf_counter()
        provides = self._register(_BUILTIN, builtin)
        self._report(_BUILTIN, "loaded", None, provides, time.perf_counter() - began)

    def _candidates(self) -> list[Candidate]:
        found = installed() if self._entry_points is None else map(candidate_of, self._entry_points())
        return sorted(found, key=lambda each: (normalized(each.distribution), each.name, each.module))

    def _load(self, candidate: Candidate) -> None:
        if candidate.entry_point is None:
            self._report(candidate, "failed", candidate.problem)
            return
        began = time.perf_counter()
        state: PluginState = "loaded"
        reason = None
        provides: tuple[str, ...] = ()
        try:
            provides = self._register(candidate, self._import(candidate))
        except PluginError as error:
            state, reason = _state_of(error), str(error)
        self._report(candidate, state, reason, provides, time.perf_counter() - began)

    def _import(self, candidate: Candidate) -> object:
        owner = self._names.get(candidate.name)
        if owner is not None:
            raise _taken(f"the entry point {candidate.name!r}", candidate.distribution, owner)
        entry_point = cast("EntryPoint", candidate.entry_point)
        return _shielded(f"importing {candidate.module}", entry_point.load)

    def _register(self, candidate: Candidate, plugin: object) -> tuple[str, ...]:
        """Check a plugin and register everything it provides; where it raises, nothing of it is registered."""
        owner = self._names.get(candidate.name)
        if owner is not None:
            raise _taken(f"the plugin name {candidate.name!r}", candidate.distribution, owner)
        found: dict[tuple[str, str], AnyType] = {}
        for kind, record in _ask(candidate.name, plugin):
            key = (kind, record.name)
            owner = candidate.distribution if key in found else self._distributions.get(key)
            if owner is not None:
                raise _taken(f"the {kind.replace('_', ' ')} {record.name!r}", candidate.distribution, owner)
            found[key] = record
        self._names[candidate.name] = candidate.distribution
        for (kind, name), record in found.items():
            self._distributions[kind, name] = candidate.distribution
            # A new mapping each time: a reader on another thread iterates over the one it has.
            self._records[kind] = {**self._records[kind], name: record}
        return tuple(f"{kind}:{name}" for kind, name in found)

    def _report(
        self,
        candidate: Candidate,
        state: PluginState,
        reason: str | None,
        provides: tuple[str, ...] = (),
        seconds: float = 0.0,
    ) -> PluginReport:
        report = PluginReport(
            name=candidate.name,
            distribution=candidate.distribution,
            version=candidate.version,
            module=candidate.module,
            state=state,
            reason=reason,
            provides=provides,
            load_seconds=seconds,
        )
        self._reports.append(report)
        return report


def _ask(name: str, plugin: object) -> list[tuple[str, AnyType]]:
    """Call each hook that a plugin implements and check what comes back.

    A pluggy manager of its own: an implementation that raises would otherwise end the call for all plugins, and a
    wrapper could change what others return.
    """
    hooks = pluggy.PluginManager(hookspec.PROJECT)
    hooks.add_hookspecs(hookspec)
    _ = _shielded("registering its hooks", lambda: hooks.register(plugin, name))
    unknown = sorted(caller.name for caller in hooks.get_hookcallers(plugin) or () if not caller.has_spec())
    try:
        hooks.check_pending()
    except pluggy.PluginValidationError:
        hook = next((each for each in unknown if each not in KINDS), "")
        meant = closest(hook, KINDS)
        hint = f" Did you mean {meant}?" if meant else ""
        raise PluginError(
            f"it implements {', '.join(unknown)}, which is no hook of vdb.{hint} Available: {', '.join(KINDS)}"
        ) from None
    callers = {caller.name: caller for caller in hooks.get_hookcallers(plugin) or ()}
    if not callers.keys() & KINDS.keys():
        known = ", ".join(KINDS)
        raise PluginError(
            f"it implements no hook; mark one with vdb_core.plugins.hookimpl. Available: {known}"
        )
    found: list[tuple[str, AnyType]] = []
    for hook, (kind, _) in KINDS.items():
        if hook in callers:
            records = _shielded(f"calling {hook}()", partial(_call, hook, callers[hook]))
            found += [(kind, record) for record in cast("list[AnyType]", records)]
    return found


def _call(hook: str, implementations: Callable[[], object]) -> list[AnyType]:
    """Call a hook and check what each implementation returned; iterating may run the plugin's code as well."""
    returned = cast("list[object]", implementations())
    return [record for records in returned for record in check_records(hook, records)]


def _shielded(doing: str, call: Callable[[], object]) -> object:
    """Run a stranger's code; whatever it raises becomes a ``PluginError``, except an interrupt by the user."""
    try:
        return call()
    except (PluginError, KeyboardInterrupt):
        raise
    # SystemExit included: a plugin that calls sys.exit() on import must not end the server.
    except BaseException as error:
        raise PluginError(f"{doing} raised {type(error).__name__}: {_text(error)}") from error


def _text(error: BaseException) -> str:
    try:
        return str(error)
    # An exception of a stranger's class may even fail to say what it is.
    except Exception:  # noqa: BLE001
        return "(its text cannot be shown)"


def _state_of(error: PluginError) -> PluginState:
    if isinstance(error, PluginIncompatible):
        return "incompatible"
    return "conflict" if isinstance(error, PluginConflict) else "failed"


def _taken(what: str, newcomer: str, owner: str) -> PluginConflict:
    advice = f"Disable one of the two with {DISABLED_VARIABLE}, or uninstall it"
    return PluginConflict(f"{what} of {newcomer} is taken by {owner}, which was loaded first. {advice}")
