"""What Streamlit runs: the look, the connection, the library that is chosen, and the pages."""

from __future__ import annotations

import streamlit as st

from vdb_dashboard.frame import run

st.set_page_config(page_title="vdb", layout="wide", initial_sidebar_state="expanded", page_icon="🔹")
run()
