"""One file a page; Streamlit runs it, and `draw` draws the page.

The folder is not named ``pages``: Streamlit takes a folder of that name for its older kind of navigation, and would run
a page without the frame around it.
"""

from __future__ import annotations

__all__: list[str] = []
