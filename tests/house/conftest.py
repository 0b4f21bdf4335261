"""Tests of built wheels run where wheels were built: the sessions of the noxfile say where they lie."""

from __future__ import annotations

import os

collect_ignore = [] if "VDB_WHEELS" in os.environ else ["test_wheels.py"]
