"""The bare routes themselves, run by uvicorn in a process of their own: no key, no metrics, no checks of any kind."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import orjson
from fastapi import FastAPI, Request, Response
from race.peers.common import import_peer

__all__ = ["create"]


def create() -> FastAPI:
    """Make the application; the environment says where its index lies."""
    folder = Path(os.environ["ROAD_FOLDER"])
    faiss = import_peer("faiss")
    index = faiss.read_index(str(folder / "index"))
    faiss.extract_index_ivf(index).nprobe = int(os.environ["ROAD_N_PROBES"])
    if hasattr(index, "k_factor"):
        index.k_factor = float(os.environ["ROAD_K_FACTOR"])
    chunks = orjson.loads((folder / "chunks").read_bytes())
    app = FastAPI()

    @app.get("/ready")
    async def ready() -> Response:
        return Response(b"{}", media_type="application/json")

    @app.post("/nothing")
    async def nothing(request: Request) -> Response:
        _ = await request.body()
        return Response(b"{}", media_type="application/json")

    @app.post("/faiss")
    async def search(request: Request) -> Response:
        query = orjson.loads(await request.body())
        vector = np.array(query["embedding"], dtype=np.float32)[np.newaxis]
        scores, slots = index.search(vector, query["k"])
        hits = [
            {"score": score, **chunks[slot]}
            for score, slot in zip(scores[0].tolist(), slots[0].tolist(), strict=True)
        ]
        return Response(orjson.dumps({"hits": hits}), media_type="application/json")

    _ = ready, nothing, search
    return app
