"""Every adapter by name, and which of them can take part on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from race.peers.contract import Absent
from race.peers.faiss_peer import Faiss
from race.peers.hnswlib_peer import Hnswlib
from race.peers.numpy_exact import Numpy
from race.peers.scann_peer import Scann
from race.peers.usearch_peer import Usearch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from race.peers.contract import Peer

__all__ = ["present"]


def present(names: Sequence[str]) -> tuple[list[Peer], dict[str, str], dict[str, str]]:
    """The peers that can be used, their versions, and why the others cannot."""
    peers: list[Peer] = [Numpy(), Faiss(), Scann(), Hnswlib(), Usearch()]
    usable: list[Peer] = []
    versions: dict[str, str] = {}
    absent: dict[str, str] = {}
    for peer in peers:
        if peer.name not in names:
            absent[peer.name] = "left out by --peers"
            continue
        try:
            versions[peer.name] = peer.version()
        except Absent as error:
            absent[peer.name] = str(error)
        else:
            usable.append(peer)
    return usable, versions, absent
