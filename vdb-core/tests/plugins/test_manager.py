"""The manager against real installed distributions: every way in which a plugin can be broken, and who is blamed."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest

from vdb_core.errors import PluginConflict, PluginError, PluginIncompatible, ValidationFailed
from vdb_core.plugins import IndexType, NoParams, PluginManager, PluginReport, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Install = Callable[..., None]

HEADER = """
from pydantic import BaseModel, ConfigDict
from vdb_core.plugins import Capabilities, EmbedderType, IndexType, JournalType, SnapshotStoreType, hookimpl

def index_type(name, **fields):
    return IndexType(**{"name": name, "summary": "A test.", "build": print, "load": print, **fields})
"""

GOOD = """
@hookimpl
def vdb_register_index_types():
    return [index_type("{name}")]
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install distributions into a folder of their own on ``sys.path``, as pip does: a module and a .dist-info."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    before = set(sys.modules)
    # Where these tests run beside our other distributions, those bring plugins too: they are not what is looked at.
    everything = importlib.metadata.distributions
    outsiders = {
        each.metadata.get("Name")
        for each in everything()
        if "vdb.plugins" in (each.read_text("entry_points.txt") or "")
    }
    monkeypatch.setattr(
        importlib.metadata,
        "distributions",
        lambda: (each for each in everything() if each.metadata.get("Name") not in outsiders),
    )

    def install(
        distribution: str,
        code: str,
        *,
        entry_points: str | None = None,
        name: str | None = None,
        version: str = "1.2",
    ) -> None:
        module = distribution.replace("-", "_")
        (site / f"{module}.py").write_text(HEADER + textwrap.dedent(code))
        info = site / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        text = entry_points or f"[vdb.plugins]\n{name or distribution} = {module}\n"
        (info / "entry_points.txt").write_text(text)

    yield install
    for name in set(sys.modules) - before:
        del sys.modules[name]


def load(disabled: tuple[str, ...] = ()) -> tuple[PluginManager, dict[str, PluginReport]]:
    manager = PluginManager(disabled=disabled)
    manager.load()
    reports = manager.reports()
    assert reports[0].distribution == "vdb-core"
    assert reports[0].state == "loaded"
    return manager, {report.distribution: report for report in reports}


def test_a_good_plugin_is_there_with_its_provenance(install: Install) -> None:
    install("acme-hnsw", GOOD.format(name="hnsw"), name="acme")
    manager, reports = load()
    assert manager.index_type("hnsw").name == "hnsw"
    report = reports["acme-hnsw"]
    assert (report.name, report.version, report.module, report.state) == (
        "acme",
        "1.2",
        "acme_hnsw",
        "loaded",
    )
    assert report.provides == ("index_type:hnsw",)
    assert report.reason is None
    assert report.to_json()["provides"] == ["index_type:hnsw"]


def test_an_entry_point_may_name_an_object(install: Install) -> None:
    code = """
    class Plugin:
        def __init__(self, prefix):
            self.prefix = prefix
        @hookimpl
        def vdb_register_index_types(self):
            yield index_type(self.prefix + "_one")
            yield index_type(self.prefix + "_two")
    plugin = Plugin("acme")
    """
    install("acme-objects", code, entry_points="[vdb.plugins]\nacme = acme_objects:plugin\n")
    manager, reports = load()
    assert reports["acme-objects"].provides == ("index_type:acme_one", "index_type:acme_two")
    assert set(manager.index_types) >= {"acme_one", "acme_two"}


BROKEN = {
    "import raises": (
        "raise RuntimeError('no licence')",
        "failed",
        "importing bad raised RuntimeError: no licence",
    ),
    "import exits": ("import sys; sys.exit(3)", "failed", "importing bad raised SystemExit: 3"),
    "import raises what is no Exception": (
        "class Odd(BaseException): pass\nraise Odd('odd')",
        "failed",
        "importing bad raised Odd: odd",
    ),
    "a dependency is missing": ("import not_there_at_all", "failed", "No module named 'not_there_at_all'"),
    "syntax error": ("def", "failed", "SyntaxError"),
    "no hooks": ("x = 1", "failed", "it implements no hook"),
    "hook without marker": (
        "def vdb_register_index_types():\n    return [index_type('bad')]",
        "failed",
        "it implements no hook",
    ),
    "unknown hook": (
        "@hookimpl\ndef vdb_register_index_type():\n    return [index_type('bad')]",
        "failed",
        "implements vdb_register_index_type, which is no hook of vdb. Did you mean vdb_register_index_types?",
    ),
    "hook with an argument too many": (
        "@hookimpl\ndef vdb_register_index_types(config):\n    return []",
        "failed",
        "registering its hooks raised PluginValidationError",
    ),
    "hook raises": (
        "@hookimpl\ndef vdb_register_index_types():\n    raise ValueError('boom')",
        "failed",
        "calling vdb_register_index_types() raised ValueError: boom",
    ),
    "hook exits": (
        "@hookimpl\ndef vdb_register_index_types():\n    raise SystemExit(1)",
        "failed",
        "calling vdb_register_index_types() raised SystemExit: 1",
    ),
    "generator raises half way": (
        "@hookimpl\ndef vdb_register_index_types():\n    yield index_type('bad')\n    raise KeyError('half')",
        "failed",
        "raised KeyError: 'half'",
    ),
    "endless generator": (
        "@hookimpl\ndef vdb_register_index_types():\n    while True:\n        yield index_type('bad')",
        "failed",
        "more than 1000",
    ),
    "returns a number": (
        "@hookimpl\ndef vdb_register_index_types():\n    return 7",
        "failed",
        "returns an iterable of IndexType; received 7 (int)",
    ),
    "returns a string": (
        "@hookimpl\ndef vdb_register_index_types():\n    return 'hnsw'",
        "failed",
        "returns an iterable of IndexType; received 'hnsw' (str)",
    ),
    "returns a bare record": (
        "@hookimpl\ndef vdb_register_index_types():\n    return index_type('bad')",
        "failed",
        "returns an iterable of IndexType; received IndexType(",
    ),
    "returns a dict among records": (
        "@hookimpl\ndef vdb_register_index_types():\n    return [index_type('bad'), {'name': 'x'}]",
        "failed",
        "received {'name': 'x'} (dict) among them",
    ),
    "returns a record of another hook": (
        (
            "@hookimpl\ndef vdb_register_index_types():\n"
            "    return [JournalType(name='bad', summary='A test.', open=print)]"
        ),
        "failed",
        "returns an iterable of IndexType; received JournalType(",
    ),
    "second hook is bad": (
        GOOD.format(name="bad") + "@hookimpl\ndef vdb_register_journals():\n    return [1]",
        "failed",
        "vdb_register_journals() returns an iterable of JournalType",
    ),
    "foreign api_version": (
        "@hookimpl\ndef vdb_register_index_types():\n    return [index_type('bad', api_version=2)]",
        "incompatible",
        "made for version 2 of the plugin interface; this vdb-core supports 1",
    ),
    "api_version is no number": (
        "@hookimpl\ndef vdb_register_index_types():\n    return [index_type('bad', api_version='1')]",
        "incompatible",
        "version '1'",
    ),
    "api_version is a truth value": (
        "@hookimpl\ndef vdb_register_index_types():\n    return [index_type('bad', api_version=True)]",
        "incompatible",
        "version True",
    ),
    "a repr that raises": (
        (
            "class Odd:\n    def __repr__(self):\n        raise OSError('repr')\n"
            "@hookimpl\ndef vdb_register_index_types():\n    return [Odd()]"
        ),
        "failed",
        "raised OSError: repr",
    ),
    "an error that cannot be shown": (
        "class Odd(Exception):\n    def __str__(self):\n        raise OSError('str')\nraise Odd",
        "failed",
        "importing bad raised Odd: (its text cannot be shown)",
    ),
    "an attribute that raises": (
        (
            "class Odd:\n    @property\n    def trap(self):\n        raise OSError('trap')\n    @hookimpl\n"
            "    def vdb_register_index_types(self):\n        return 1\nimport sys\nsys.modules[__name__] = Odd()"
        ),
        "failed",
        "",
    ),
}


@pytest.mark.parametrize(("code", "state", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_reported_and_every_other_one_is_there(
    install: Install, code: str, state: str, reason: str
) -> None:
    install("aaa-before", GOOD.format(name="before"))
    install("bad", code)
    install("zzz-after", GOOD.format(name="after"))
    manager, reports = load()
    assert reports["bad"].state == state
    assert reason in (reports["bad"].reason or "")
    assert reports["bad"].provides == ()
    assert set(manager.index_types) == {"numpy", "before", "after"}
    assert set(manager.journals) == {"sqlite"}
    with pytest.raises(ValidationFailed, match=r"could not be loaded .*: bad"):
        manager.index_type("bad")


FIELDS = {
    "name with a dash": ("'my-index'", "", "matches [a-z][a-z0-9_]{0,63}"),
    "name is no string": ("7", "", "received 7 (int)"),
    "empty summary": ("'bad'", "summary='  '", "summary: expected a sentence"),
    "build is no callable": ("'bad'", "build=None", "build: expected a callable; received None"),
    "load is no callable": ("'bad'", "load='module:load'", "load: expected a callable"),
    "estimate is no callable": ("'bad'", "estimate_memory=8", "estimate_memory: expected a callable"),
    "accelerator is no callable": ("'bad'", "accelerator='numpy'", "accelerator: expected a callable"),
    "unknown metric": (
        "'bad'",
        "metrics=frozenset({'l2', 'hamming'})",
        "unknown 'hamming'. Available: cosine, dot, l2",
    ),
    "no metric": ("'bad'", "metrics=frozenset()", "at least one metric"),
    "metrics is a string": ("'bad'", "metrics='l2'", "expected a frozenset"),
    "capabilities is a dict": ("'bad'", "capabilities={'exact': True}", "expected Capabilities"),
    "a capability is no truth value": (
        "'bad'",
        "capabilities=Capabilities(exact='yes')",
        "exact: expected True or False",
    ),
    "complexity is a string": ("'bad'", "complexity='O(n)'", "expected Complexity or None"),
    "params is no model": ("'bad'", "params=dict", "expected a subclass of pydantic.BaseModel"),
    "params is an instance": ("'bad'", "params=Strict()", "expected a subclass of pydantic.BaseModel"),
    "params ignores what it does not know": (
        "'bad'",
        "params=Lax",
        'params: Lax needs model_config = ConfigDict(extra="forbid")',
    ),
    "params has a required field": (
        "'bad'",
        "params=Required",
        "every field of Required needs a default; these have none: n",
    ),
    "default is unusable": ("'bad'", "params=BadDefault", "unusable defaults"),
    "no JSON schema": ("'bad'", "params=NoSchema", "no JSON schema"),
    "nested model ignores": (
        "'bad'",
        "params=Outer",
        'models nested in Outer need extra="forbid" too: Inner',
    ),
    "search params too": ("'bad'", "search_params=Lax", "search_params: Lax needs"),
}

MODELS = """
import typing, threading
class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
class Lax(BaseModel):
    n: int = 1
class Required(Strict):
    n: int
class BadDefault(Strict):
    model_config = ConfigDict(extra="forbid", validate_default=True)
    n: int = "many"
class NoSchema(Strict):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    n: typing.Optional[threading.Thread] = None
class Inner(BaseModel):
    n: int = 1
class Outer(Strict):
    inner: Inner = Inner()
"""


@pytest.mark.parametrize(("name", "field", "reason"), FIELDS.values(), ids=FIELDS)
def test_a_record_with_a_bad_field_is_refused(install: Install, name: str, field: str, reason: str) -> None:
    install(
        "bad",
        MODELS
        + f"@hookimpl\ndef vdb_register_index_types():\n    return [index_type('fine'), index_type({name}, {field})]",
    )
    manager, reports = load()
    assert reports["bad"].state == "failed"
    assert reason in (reports["bad"].reason or "")
    assert set(manager.index_types) == {"numpy"}


def test_a_hook_of_a_later_version_may_be_optional(install: Install) -> None:
    code = """
    @hookimpl(optionalhook=True)
    def vdb_register_rerankers():
        raise RuntimeError("nobody calls this")
    """
    install("acme", GOOD.format(name="fine") + textwrap.dedent(code))
    manager, reports = load()
    assert reports["acme"].provides == ("index_type:fine",)
    assert "fine" in manager.index_types


def test_an_interrupt_by_the_user_is_no_failure_of_the_plugin(install: Install) -> None:
    install("bad", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        PluginManager().load()


def test_a_taken_name_names_both_distributions_and_the_first_keeps_it(install: Install) -> None:
    install("acme-one", GOOD.format(name="hnsw"))
    install("acme-two", GOOD.format(name="hnsw") + "@hookimpl\ndef vdb_register_journals():\n    return []")
    install("acme-usurper", GOOD.format(name="numpy"))
    manager, reports = load()
    assert reports["acme-one"].state == "loaded"
    assert reports["acme-two"].state == reports["acme-usurper"].state == "conflict"
    assert "index type 'hnsw' of acme-two is taken by acme-one" in (reports["acme-two"].reason or "")
    assert "index type 'numpy' of acme-usurper is taken by vdb-core" in (reports["acme-usurper"].reason or "")
    assert manager.index_type("numpy").build.__module__ == "vdb_core.plugins.builtin"


def test_a_plugin_in_conflict_registers_nothing_at_all(install: Install) -> None:
    code = """
    @hookimpl
    def vdb_register_index_types():
        return [index_type("fresh"), index_type("numpy")]
    """
    install("acme", code)
    manager, _ = load()
    assert set(manager.index_types) == {"numpy"}


def test_one_plugin_cannot_register_a_name_twice(install: Install) -> None:
    install(
        "acme", "@hookimpl\ndef vdb_register_index_types():\n    return [index_type('x'), index_type('x')]"
    )
    _, reports = load()
    assert "'x' of acme is taken by acme" in (reports["acme"].reason or "")


def test_names_are_unique_by_kind_only(install: Install) -> None:
    code = "@hookimpl\ndef vdb_register_embedders():\n    return [EmbedderType(name='numpy', summary='x', open=print)]"
    install("acme", code)
    manager, _ = load()
    assert manager.embedder("numpy").name == "numpy"


def test_two_entry_points_of_one_name_are_a_conflict(install: Install) -> None:
    install("acme-one", GOOD.format(name="one"), name="acme")
    install("acme-two", "raise RuntimeError('must not be imported')", name="acme")
    manager, reports = load()
    assert reports["acme-two"].state == "conflict"
    assert "entry point 'acme' of acme-two is taken by acme-one" in (reports["acme-two"].reason or "")
    assert "acme_two" not in sys.modules
    assert set(manager.index_types) == {"numpy", "one"}


@pytest.mark.parametrize("name", ["bad", "bad-entry", "Bad_Entry", "BAD"])
def test_a_disabled_plugin_is_not_imported(install: Install, name: str) -> None:
    install("bad", "raise RuntimeError('imported')", name="bad-entry")
    manager, reports = load(disabled=(name, "not-installed"))
    assert reports["bad"].state == "disabled"
    assert name in (reports["bad"].reason or "")
    assert "bad" not in sys.modules
    assert manager.unmatched_disabled == ("not-installed",)


def test_the_environment_names_what_is_disabled(install: Install) -> None:
    install("acme-one", GOOD.format(name="one"))
    install("acme-two", GOOD.format(name="two"))
    install("acme-three", GOOD.format(name="three"))
    manager = PluginManager.from_environment({"VDB_PLUGINS_DISABLED": " acme-one, acme_three,, "})
    manager.load()
    assert set(manager.index_types) == {"numpy", "two"}
    plain = PluginManager.from_environment({})
    plain.load()
    assert set(plain.index_types) == {"numpy", "one", "two", "three"}


def test_the_built_in_fallback_cannot_be_disabled(install: Install) -> None:
    manager, _ = load(disabled=("vdb-core", "builtin"))
    assert "numpy" in manager.index_types
    assert manager.unmatched_disabled == ("builtin", "vdb-core")


def test_order_is_by_distribution_then_name(install: Install) -> None:
    for name, entry in (("zeta", "a"), ("Alpha", "z"), ("mid-dle", "c")):
        install(name, GOOD.format(name=name.lower().replace("-", "_")), name=entry)
    install("beta", "", entry_points="[vdb.plugins]\nb2 = nothing_2\nb1 = nothing_1\n")
    manager = PluginManager()
    manager.load()
    assert [report.name for report in manager.reports()] == ["builtin", "z", "b1", "b2", "c", "a"]


def test_a_malformed_entry_points_file_hurts_nobody_else(install: Install) -> None:
    install("acme", GOOD.format(name="fine"))
    install("bad", "", entry_points="[vdb.plugins]\nno equals sign here\n")
    install("elsewhere", "", entry_points="[console_scripts]\nno equals sign here\n")
    manager, reports = load()
    assert "fine" in manager.index_types
    assert reports["bad"].state == "failed"
    assert "entry_points.txt cannot be read" in (reports["bad"].reason or "")
    assert "elsewhere" not in reports


def test_a_distribution_without_metadata_still_has_its_plugin(install: Install, tmp_path: Path) -> None:
    install("acme", GOOD.format(name="fine"))
    (tmp_path / "site-packages" / "acme-1.2.dist-info" / "METADATA").unlink()
    manager, reports = load()
    assert "fine" in manager.index_types
    assert reports["an unknown distribution"].state == "loaded"


def test_a_distribution_found_twice_counts_once(install: Install, tmp_path: Path) -> None:
    install("acme", GOOD.format(name="fine"))
    second = tmp_path / "elsewhere"
    second.mkdir()
    (tmp_path / "site-packages" / "acme-1.2.dist-info").rename(
        tmp_path / "site-packages" / "acme-1.3.dist-info"
    )
    sys.path.append(str(second))
    try:
        info = second / "Acme-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Acme\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[vdb.plugins]\nacme = acme\n")
        manager = PluginManager()
        manager.load()
    finally:
        sys.path.remove(str(second))
    assert [report.distribution for report in manager.reports()] == ["vdb-core", "acme"]


def test_a_slow_import_is_told(install: Install) -> None:
    install("acme-slow", "import time; time.sleep(0.15)\n" + GOOD.format(name="slow"))
    install("acme-fast", GOOD.format(name="fast"))
    _, reports = load()
    assert reports["acme-slow"].load_seconds >= 0.15 > reports["acme-fast"].load_seconds
    assert reports["acme-slow"].to_json()["load_ms"] == pytest.approx(
        reports["acme-slow"].load_seconds * 1000, abs=0.1
    )


def test_loading_happens_once(install: Install) -> None:
    code = (
        "import builtins\nbuiltins.vdb_test_calls = getattr(builtins, 'vdb_test_calls', 0)\n"
        """
@hookimpl
def vdb_register_index_types():
    builtins.vdb_test_calls += 1
    return [index_type("one")]
"""
    )
    install("acme", code)
    import builtins

    manager = PluginManager()
    assert dict(manager.index_types) == {}
    try:
        manager.load()
        manager.load()
        assert builtins.vdb_test_calls == 1  # type: ignore[attr-defined]
    finally:
        del builtins.vdb_test_calls  # type: ignore[attr-defined]
    assert len(manager.reports()) == 2


def test_entry_points_can_be_handed_in_and_need_no_distribution(install: Install) -> None:
    install("acme", GOOD.format(name="fine"))
    lonely = EntryPoint(name="lonely", value="acme", group="vdb.plugins")
    manager = PluginManager(entry_points=lambda: [lonely])
    manager.load()
    assert manager.reports()[1].distribution == "an unknown distribution"
    assert "fine" in manager.index_types
    nothing = PluginManager(entry_points=lambda: ())
    nothing.load()
    assert set(nothing.index_types) == {"numpy"}


def test_importing_the_packages_loads_no_plugin(install: Install, tmp_path: Path) -> None:
    install(
        "acme",
        "import pathlib\npathlib.Path(__file__).with_name('imported').touch()\n" + GOOD.format(name="one"),
    )
    site = tmp_path / "site-packages"
    script = """
import sys
import vdb_core
assert not {"numpy", "pydantic", "pluggy", "sqlite3", "importlib.metadata"} & set(sys.modules), sorted(sys.modules)
import vdb_core.plugins, vdb_core.indexes, vdb_core.domain, vdb_core.errors
assert "acme" not in sys.modules
assert "vdb_core.plugins.builtin" not in sys.modules
manager = vdb_core.plugins.PluginManager()
assert "acme" not in sys.modules
manager.load()
assert "acme" in sys.modules
# Listing what there is imports no implementation.
assert not {"sqlite3", "vdb_core.persistence", "vdb_core.engine"} & set(sys.modules), sorted(sys.modules)
"""
    program = f"import sys; sys.path[:0] = {[str(site), *[p for p in sys.path if p]]!r}\n" + script
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (site / "imported").exists()


def test_an_unknown_name_is_answered_with_the_known_ones(install: Install) -> None:
    install(
        "acme",
        "@hookimpl\ndef vdb_register_index_types():\n    return map(index_type, ['hnsw', 'brute', 'ivf_pq'])",
    )
    manager, _ = load()
    with pytest.raises(ValidationFailed) as caught:
        manager.index_type("hsnw", pointer="/index/type")
    assert caught.value.faults[0].pointer == "/index/type"
    assert (
        caught.value.faults[0].detail
        == "No index type named 'hsnw'. Did you mean 'hnsw'? Available: brute, hnsw, ivf_pq, numpy"
    )
    for look_up in (manager.snapshot_store, manager.journal, manager.embedder):
        with pytest.raises(ValidationFailed, match=r"named 'zzz'\. Available: "):
            look_up("zzz")
        with pytest.raises(ValidationFailed, match="is a string; received a value of type list"):
            look_up(["numpy"])


class Registered:
    def __init__(self, *records: object) -> None:
        self.records = records

    @hookimpl
    def vdb_register_index_types(self) -> object:
        return self.records


def record(name: str, **fields: object) -> IndexType:
    return IndexType(**{"name": name, "summary": "A test.", "build": print, "load": print, **fields})  # type: ignore[arg-type]


def test_registering_by_hand_raises_and_reports() -> None:
    manager = PluginManager(entry_points=lambda: ())
    assert manager.register(Registered(record("mine")), name="mine").state == "loaded"
    for plugin, name, error in [
        (Registered(record("numpy")), "other", PluginConflict),
        (Registered(record("fresh")), "mine", PluginConflict),
        (Registered(record("fresh", api_version=99)), "other", PluginIncompatible),
        (Registered(record("fresh"), 7), "other", PluginError),
        (object(), "other", PluginError),
    ]:
        with pytest.raises(error):
            manager.register(plugin, name=name)
    manager.load()
    assert [report.state for report in manager.reports()] == [
        *("loaded", "loaded", "conflict", "conflict", "incompatible", "failed", "failed")
    ]
    assert set(manager.index_types) == {"numpy", "mine"}


def test_index_types_are_described_as_json() -> None:
    manager = PluginManager(entry_points=lambda: ())
    manager.load()
    (described,) = manager.describe_index_types()
    assert described["name"] == "numpy"
    assert described["distribution"] == "vdb-core"
    assert described["metrics"] == ["cosine", "dot", "l2"]
    assert described["capabilities"] == {
        "exact": True,
        "native_filter": True,
        "deterministic": True,
        "releases_gil": True,
    }
    assert described["complexity"] == {"build": "O(1)", "query": "O(n d)", "space": "O(1)"}
    assert described["params"]["additionalProperties"] is False  # type: ignore[index]
    assert manager.index_type("numpy").params is NoParams
