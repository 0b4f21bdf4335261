"""A dashboard for vdb in the browser. ``vdb dashboard``, or ``python -m vdb_dashboard``, starts it.

logic/   what can be known without a browser: forms from JSON schemas, files to rows, projection, measuring
ui/      pieces that several pages draw: errors, forms, hits, charts
views/   one file a page
app.py   what Streamlit runs: the connection, the library that is chosen, the pages
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
