"""What all tests share: how long an example of a property test takes is no part of what it holds."""

from __future__ import annotations

from importlib.util import find_spec

# Not each distribution's tests need it.
if find_spec("hypothesis"):
    from hypothesis import settings

    # On a continuous integration's machine Hypothesis loads a profile by itself, which knows no deadline either.
    if settings().deadline is not None:
        settings.register_profile("no deadline", deadline=None)
        settings.load_profile("no deadline")
