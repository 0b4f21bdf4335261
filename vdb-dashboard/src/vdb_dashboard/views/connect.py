"""The connection: which server, with which key; and what the server's plugins are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

import vdb_sdk
from vdb_dashboard.logic.inputs import InputFault
from vdb_dashboard.ui import session
from vdb_dashboard.ui.pieces import Attempt, head, tried

if TYPE_CHECKING:
    from vdb_sdk import Library

__all__ = ["draw"]


def draw(_libraries: list[Library], *, connected: bool = True) -> None:
    """Draw the page; without a connection there is nothing more to ask the server."""
    head("Connection", "The server that this dashboard talks to.")
    now = session.connection()
    with st.form("connection-form"):
        left, right = st.columns(2)
        url = left.text_input(
            "URL of the server", value=now.url, key="connection-url", disabled=session.is_shared()
        )
        key = right.text_input(
            "API key",
            type="password",
            key="connection-key",
            autocomplete="off",
            placeholder="a key is in use" if now.api_key else "none",
            help="Kept in this session's memory and sent to that server alone. Empty keeps the one in use.",
        )
        with st.container(horizontal=True):
            connect = st.form_submit_button("Connect", type="primary", key="connection-save")
            drop = st.form_submit_button("Forget the key", key="connection-forget", disabled=not now.api_key)
    if connect or drop:
        target = now.url if session.is_shared() else url.strip()
        # A key goes to the server that it was entered for, and to no other.
        kept = now.api_key if target == now.url and not drop else None
        with Attempt() as attempt:
            _check(target, key.strip() or kept)
        if attempt.succeeded:
            session.reconnect(target, key.strip() or kept)
            session.say(f"Connected to {target}" if connect else "The key is forgotten")
            st.rerun()
    plugins = tried(session.client().plugins) if connected else None
    if plugins is not None:
        st.subheader("Plugins of the server", anchor=False)
        rows = [
            {
                "plugin": plugin.name,
                "distribution": f"{plugin.distribution or ''} {plugin.version or ''}".strip(),
                "state": plugin.state,
                "provides, or why not": plugin.reason or ", ".join(plugin.provides),
            }
            for plugin in plugins
        ]
        wide = {"provides, or why not": st.column_config.TextColumn(width="large")}
        st.dataframe(pd.DataFrame(rows), hide_index=True, column_config=wide)


def _check(url: str, api_key: str | None) -> None:
    """Ask the server something that needs the key; raises what is wrong."""
    if not url.startswith(("http://", "https://")):
        raise InputFault(f"The URL: expected http://... or https://...; received {url or 'nothing'}.")
    with vdb_sdk.connect(url, api_key=api_key, timeout=10.0, retries=0) as client:
        _ = client.plugins()


if __name__ == "__main__":
    draw(session.libraries())
