"""Opens the engine as the settings say: the one way for the command, the application and the embedded server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vdb_core.plugins import PluginManager, validate_params
from vdb_core.services import open_services

if TYPE_CHECKING:
    from vdb_core.services import Services
    from vdb_server.settings import Settings

__all__ = ["open_engine"]


def open_engine(settings: Settings, *, in_memory: bool = False) -> Services:
    """Load the plugins and open the engine.

    Raises:
        ValidationFailed: no installed plugin has an embedder that the settings name, or it does not take its params.
        OperatorError: the data directory is in use, or what is in it cannot be opened.
        OSError: the data directory cannot be made or read.
    """
    plugins = PluginManager(disabled=settings.plugins_disabled)
    plugins.load()
    if settings.embedder is not None:
        # Asked now: otherwise whoever sends the first text would learn of a typing error in the settings.
        plugins.embedder(settings.embedder, pointer="/embedder")
    for name, params in settings.embedder_params.items():
        validate_params(
            plugins.embedder(name, pointer="/embedder_params").params, params, f"/embedder_params/{name}"
        )
    return open_services(settings.engine(in_memory=in_memory), plugins=plugins)
