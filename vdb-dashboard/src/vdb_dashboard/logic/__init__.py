"""What the dashboard knows without a browser: no module here imports Streamlit."""

from __future__ import annotations

__all__: list[str] = []
