"""Small programs that do every kind of call, for the tests of the shim itself. They run in the pool."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np

from crash_kit.shim import Fault
from crash_kit.worker import PLUGINS, SHIM

__all__ = ["everything", "mapping", "three_files", "three_flushes"]


def everything(root: str, record: str) -> None:
    """Change a directory in every way that vdb, SQLite, NumPy and Rust know."""
    base = Path(root)
    with Path(record).open("wb") as file:
        SHIM.arm(base, record=file.fileno())
        connection = sqlite3.connect(base / "db", isolation_level=None)
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (a)")
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("INSERT INTO t VALUES (1)")
        connection.close()
        SHIM.mark("half")
        (base / "d" / "e").mkdir(parents=True)
        np.save(base / "d" / "a.npy", np.arange(100.0))
        kind = PLUGINS.index_types["ivf_flat"]
        vectors = np.random.default_rng(1).standard_normal((60, 4), dtype=np.float32)
        index = kind.build(
            vectors,
            metric="l2",
            params=kind.params(),
            seed=0,
            threads=1,
            progress=lambda *_: None,
            cancelled=lambda: False,
        )
        (base / "index").mkdir()
        index.save(base / "index")
        (base / "appended").write_bytes(b"one")
        with (base / "appended").open("ab") as appended:
            appended.write(b"two")
            appended.flush()
            os.fsync(appended.fileno())
        (base / "appended").write_bytes(b"three")
        with (base / "pieces").open("wb") as pieces:
            os.writev(pieces.fileno(), [b"four", b"", b"five"])
            os.pwrite(pieces.fileno(), b"F", 4)
            os.truncate(pieces.fileno(), 40)
        os.link(base / "pieces", base / "d" / "link")
        (base / "pieces").rename(base / "d" / "pieces")
        (base / "index").rename(base / "d" / "index")
        (base / "appended").unlink()
        shutil.copytree(base / "d" / "index", base / "gone", copy_function=_copy)
        shutil.rmtree(base / "gone")
        (base / "d" / "e").rmdir()
        SHIM.disarm()


def _copy(source: str, target: str) -> None:
    Path(target).write_bytes(Path(source).read_bytes())


def mapping(root: str) -> None:
    """Write through a mapping, which no shim can see."""
    SHIM.arm(Path(root))
    with (Path(root) / "f").open("w+b") as file:
        file.write(b"12345678")
        file.flush()
        with mmap.mmap(file.fileno(), 8) as mapped:
            mapped[0] = 0


def three_files(root: str, at: int, fault: int, sticky: bool) -> list[str]:
    """Write three files; tells how each of them went."""
    SHIM.arm(Path(root), at=at, fault=Fault(fault), sticky=sticky)
    told: list[str] = []
    for number, text in enumerate((b"aa", b"bb", b"cc")):
        try:
            with (Path(root) / str(number)).open("wb", buffering=0) as file:
                told.append("" if file.write(text) == 2 else "short")
        except OSError as error:
            told.append(errno.errorcode[error.errno or 0])
    return told


def three_flushes(root: str, at: int, fault: int) -> list[str]:
    """Sync a file, the directory, and the file again; tells how each of them went."""
    SHIM.arm(Path(root), at=at, fault=Fault(fault))
    told: list[str] = []
    with (Path(root) / "file").open("wb", buffering=0) as file:
        directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        for descriptor in (file.fileno(), directory, file.fileno()):
            try:
                os.fsync(descriptor)
                told.append("")
            except OSError as error:
                told.append(errno.errorcode[error.errno or 0])
        os.close(directory)
    return told
