"""From the flags of the command to the arguments of Streamlit: safe defaults, and one look."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SETTINGS", "environment", "free_port", "is_loopback", "streamlit_arguments"]

SETTINGS: Final[Mapping[str, str]] = {
    # Nothing leaves this machine, and nothing of the server's insides reaches the browser.
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.showErrorLinks": "false",
    "client.toolbarMode": "minimal",
    "server.headless": "true",
    "server.showEmailPrompt": "false",
    "server.fileWatcherType": "none",
    "server.runOnSave": "false",
    "server.enableXsrfProtection": "true",
    "server.enableCORS": "true",
    "server.maxUploadSize": "1024",
    "logger.level": "warning",
    # The look.
    "theme.base": "light",
    "theme.primaryColor": "#2f5fd0",
    "theme.backgroundColor": "#ffffff",
    "theme.secondaryBackgroundColor": "#f4f6fa",
    "theme.textColor": "#1b2433",
    "theme.borderColor": "#dfe4ec",
    "theme.baseRadius": "8px",
    "theme.showWidgetBorder": "true",
    "theme.showSidebarBorder": "true",
    "theme.baseFontSize": "15",
    "theme.sidebar.backgroundColor": "#f7f8fb",
}
"""Streamlit's options, all of them: what a file of options elsewhere says does not matter."""


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine alone."""
    name = host.strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def free_port(host: str) -> int:
    """A port that is free now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host.strip("[]"), 0))
        return int(probe.getsockname()[1])


def streamlit_arguments(host: str, port: int, allowed_hosts: list[str]) -> list[str]:
    """The arguments of ``streamlit run``.

    Names by which browsers may reach it are checked against DNS rebinding: this machine's on loopback, else the address
    itself and ``allowed_hosts``. An address that stands for all (``0.0.0.0``) has no name of its own, so there without
    ``allowed_hosts`` any name will do, and the API key that a browser has to enter is what protects the data.
    """
    hosts = [*allowed_hosts]
    if is_loopback(host):
        hosts += ["localhost", "127.0.0.1", "[::1]"]
    elif host not in {"0.0.0.0", "::"}:  # noqa: S104  # compared with, not listened on  # compared with, not listened on
        hosts.append(host)
    options = {
        **SETTINGS,
        "server.address": host,
        "server.port": str(port),
        "browser.serverAddress": host,
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    flags += [f"--server.allowedHosts={name}" for name in dict.fromkeys(hosts)]
    return ["run", str(Path(__file__).with_name("app.py")), *flags]


def environment(url: str, host: str) -> dict[str, str]:
    """What the pages read: where the server is, and whether everybody who comes shares this process's rights.

    Beyond this machine the key of this process is not lent to whoever opens the page, and the server is the one that
    was named: each browser enters a key of its own.
    """
    mine = dict(os.environ)
    mine["VDB_URL"] = url
    mine["VDB_DASHBOARD_SHARED"] = "" if is_loopback(host) else "1"
    if mine["VDB_DASHBOARD_SHARED"]:
        mine.pop("VDB_API_KEY", None)
        mine.pop("VDB_READ_ONLY_API_KEY", None)
    return mine
