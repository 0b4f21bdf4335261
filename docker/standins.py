"""Stands in for the base images of the Dockerfile where no image registry can be reached.

A stand-in has the name of the image it stands for and what the Dockerfile relies on: Debian of the same release with
Python and pip, or with cargo and a C linker. It is made with debootstrap, which needs root and the mirror that it knows; the Rust
toolchain is this machine's own. Stand-ins are for trying the Dockerfile out, never for publishing: they are labelled,
and whoever made them removes them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["LABEL", "base_images", "ensure_bases"]

ROOT: Final = Path(__file__).resolve().parents[1]
LABEL: Final = "vdb.stand-in=true"
_CERTIFICATES: Final = "etc/ssl/certs/ca-certificates.crt"
_PACKAGES: Final = {
    "python": "ca-certificates,python3,python3-pip,python3-venv",
    "rust": "ca-certificates,gcc,libc6-dev",
}
_LEFT_OUT: Final = (
    "./proc/*",
    "./sys/*",
    "./dev/*",
    "./debootstrap",
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
    "./usr/share/doc/*",
    "./usr/share/locale/*",
    "./usr/share/man/*",
    "./usr/lib/python3.*/EXTERNALLY-MANAGED",
)


def base_images() -> list[str]:
    """The images that the Dockerfile is built on, by name and tag."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    return re.findall(r"(?m)^ARG [A-Z]+_IMAGE=(\S+)$", text)


def ensure_bases(cache: Path) -> list[str]:
    """Have every base image: as it is here, from its registry, or as a stand-in.

    Args:
        cache: a folder where file systems of stand-ins are kept for the next time.

    Returns:
        The names of the stand-ins that were made; the caller removes them.
    """
    missing = [image for image in base_images() if not _is_here(image) and not _pull(image)]
    for image in missing:
        _say(
            f"STAND-IN for {image}: no registry gave it; made with debootstrap, as good as it for trying out only"
        )
        _make(image, cache)
    return missing


def _is_here(image: str) -> bool:
    return (
        subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode
        == 0
    )


def _pull(image: str) -> bool:
    try:
        done = subprocess.run(
            ["docker", "pull", "--quiet", image], capture_output=True, check=False, timeout=600
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _make(image: str, cache: Path) -> None:
    name, _, tag = image.partition(":")
    release = tag.rsplit("-", 1)[-1]
    tree = cache / f"{name}-{release}"
    if not tree.exists():
        _bootstrap(_PACKAGES[name], release, tree)
    certificates = Path("/", _CERTIFICATES)
    if certificates.exists():
        # A network that opens TLS has certificates of its own, which this machine trusts already.
        shutil.copyfile(certificates, tree / _CERTIFICATES)
    changes = [f"LABEL {LABEL}", 'CMD ["bash"]']
    if name == "python":
        for shown, target in (("python", "python3"), ("pip", "pip3")):
            link = tree / "usr/local/bin" / shown
            link.unlink(missing_ok=True)
            link.symlink_to(f"/usr/bin/{target}")
    else:
        _copy_toolchain(tree / "usr/local/rustup")
        changes.append(
            "ENV PATH=/usr/local/rustup/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        )
    changes += [
        f"ENV {variable}=/{_CERTIFICATES}" for variable in ("SSL_CERT_FILE", "PIP_CERT", "CARGO_HTTP_CAINFO")
    ]
    leaving_out = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
    options = [option for change in changes for option in ("--change", change)]
    with subprocess.Popen(
        ["tar", "-C", str(tree), *leaving_out, "-c", "."], stdout=subprocess.PIPE
    ) as packing:
        subprocess.run(
            ["docker", "import", *options, "-", image],
            stdin=packing.stdout,
            stdout=subprocess.DEVNULL,
            check=True,
        )


def _bootstrap(packages: str, release: str, tree: Path) -> None:
    if shutil.which("debootstrap") is None:
        sys.exit(
            "No image registry can be reached, and debootstrap, which makes stand-ins, is not on the PATH.\n"
            "Install it with:  sudo apt-get install debootstrap\nthen run the same command again."
        )
    if os.geteuid() != 0:
        sys.exit(
            "No image registry can be reached, and making stand-ins needs root: run the same command with sudo."
        )
    work = tree.with_suffix(".new")
    shutil.rmtree(work, ignore_errors=True)
    downloads = tree.parent / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    command = ["debootstrap", "--variant=minbase", f"--cache-dir={downloads}", f"--include={packages}"]
    _say(f"debootstrap of {release} with {packages}; some minutes, the first time only")
    done = subprocess.run([*command, release, str(work)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"debootstrap failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    work.rename(tree)


def _copy_toolchain(target: Path) -> None:
    """What building takes of this machine's Rust: the compiler, cargo and the standard library, without its docs."""
    if target.exists():
        return
    found = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=False)
    if found.returncode:
        sys.exit(
            "rustc is not on the PATH; the stand-in of the Rust image is made of this machine's toolchain."
        )
    sysroot = Path(found.stdout.strip())
    for part in ("bin/cargo", "bin/rustc"):
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(sysroot / part, target / part)
    shutil.copytree(sysroot / "lib", target / "lib", symlinks=True)


def _say(text: str) -> None:
    sys.stderr.write(f"docker: {text}\n")
    sys.stderr.flush()
