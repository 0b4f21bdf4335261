"""Makes settings from flags and the environment, with errors that name the flag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vdb_server.cli.output import Failure

if TYPE_CHECKING:
    from vdb_core.errors import ValidationFailed
    from vdb_server.settings import Settings

__all__ = ["load_settings", "told_of_settings"]


def load_settings(**flags: Any) -> Settings:
    """Make the settings; a flag that was not given is ``None`` and leaves the word to the environment."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from vdb_server.settings import Settings

    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except SettingsError as error:
        raise Failure(str(error), 2) from error
    except ValidationError as error:
        faults: list[str] = []
        for item in error.errors(include_url=False, include_input=False):
            name = str(item["loc"][0]) if item["loc"] else ""
            where = f"--{name.replace('_', '-')} (or VDB_{name.upper()}): " if name else ""
            faults.append(f"{where}{item['msg'].removeprefix('Value error, ')}")
        raise Failure("; ".join(faults), 2) from error


def told_of_settings(error: ValidationFailed) -> str:
    """What is wrong with the settings of a plugin, by the name of the variable."""
    fault = error.faults[0]
    setting, *place = fault.pointer.strip("/").split("/", 1)
    return f"VDB_{setting.upper()}: {'/'.join([*place, ''])[:-1]}{': ' if place else ''}{fault.detail}"
