"""Groups of commands, each of which is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, ClassVar

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from collections.abc import Mapping


class LazyGroup(TyperGroup):
    """
    A group that imports its commands on demand.

    Attributes:
        homes: The module of each command, and the function or group in it where that has another name.
    """

    homes: ClassVar[Mapping[str, str]]

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # noqa: ARG002
        return list(self.homes)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]  # noqa: ARG002
        if cmd_name not in self.homes:
            return None
        name, _, function = self.homes[cmd_name].partition(".")
        command = getattr(importlib.import_module(f".{name}", __package__), function or name)
        if isinstance(command, typer.Typer):
            return typer.main.get_command(command)
        single = typer.Typer(add_completion=False)
        single.command(cmd_name)(command)
        return typer.main.get_command(single)
