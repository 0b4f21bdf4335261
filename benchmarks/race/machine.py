"""What a run ran on: processor, instruction sets, memory, versions. Names no host and no path."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

from race.peers.common import import_peer, version_of
from race.peers.contract import Absent

__all__ = ["describe"]

# What distance kernels are made of.
_FLAGS: Final = (
    "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512vbmi", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "avx512_vpopcntdq", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip


def describe(threads: int) -> dict[str, Any]:
    """Describe this machine and what is installed."""
    cpu = _cpu()
    return {
        "cpu": cpu.get("model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cache": _caches(),
        "instruction_sets": [
            flag for flag in _FLAGS if flag in (cpu.get("flags") or cpu.get("Features") or "").split()
        ],
        "memory_bytes": _memory(),
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        # What comes after a version is what whoever built the kernel calls it.
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "vdb_core": version_of("vdb-core"),
        "vdb_index_rust": version_of("vdb-index-rust"),
        "vdb_instruction_set": _vdb_instruction_set(),
        "threads": threads,
    }


def _cpu() -> dict[str, str]:
    """The first processor of ``/proc/cpuinfo``; on macOS its name; elsewhere nothing."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        first = info.read_text(encoding="utf-8").split("\n\n", 1)[0]
        pairs = (line.partition(":") for line in first.splitlines())
        return {name.strip(): value.strip() for name, _, value in pairs}
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return {"model name": done.stdout.strip()}
    return {}


def _caches() -> dict[str, str]:
    folder = Path("/sys/devices/system/cpu/cpu0/cache")
    found: dict[str, str] = {}
    for index in sorted(folder.glob("index*")) if folder.exists() else []:
        level, kind, size = (
            (index / name).read_text(encoding="ascii").strip() for name in ("level", "type", "size")
        )
        if kind != "Instruction":
            found[f"L{level}"] = size
    return found


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _vdb_instruction_set() -> str | None:
    try:
        ask = getattr(import_peer("vdb_index_rust._native"), "instruction_set", None)
    except Absent:
        return None
    return str(ask()) if ask else None
