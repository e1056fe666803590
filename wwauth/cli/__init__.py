"""
The `wwauth` command.

Each command is a plain function with typer's annotations, most of them in the module of its own name: `wwauth.cli.demo.demo`.
The module is imported when its command is asked for, so that none waits for what another needs.
"""

from __future__ import annotations

import io
import logging
import sys
from typing import Annotated, Any

import typer

from ..errors import WWAuthError
from ._lazy import LazyGroup

__all__ = ["app", "main"]

_log = logging.getLogger(__name__)

# Each with the module and the function, where these have another name.
_COMMANDS = {
    "authstate": "authstate",
    "backup": "backup",
    "demo": "demo",
    "export": "transfer.export_session",
    "import": "transfer.import_session",
    "keygen": "keygen",
    "list": "listing",
    "login": "login",
    "migrate": "migrate",
    "prune": "prune",
    "restore": "restore",
    "simulator": "simulator",
    "verify": "verify",
}


class _Commands(LazyGroup):
    """A group that ends wwauth's own errors in one sentence."""

    homes = _COMMANDS

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except WWAuthError as exc:
            # The sentence names the value and the cure; the traceback is for `--verbose` alone.
            _log.debug("%s", type(exc).__name__, exc_info=exc)
            typer.echo(f"wwauth: {exc}", err=True)
            raise typer.Exit(getattr(exc, "exit_code", 1)) from None


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer hands the option's value over
    if wanted:
        from .. import __version__  # noqa: PLC0415 - read from the metadata when asked for

        typer.echo(f"wwauth {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[  # noqa: ARG001 - the callback has answered it
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log to stderr what happens.")] = False,
) -> None:
    """Keep WhatsApp logins alive: link a device once, restart, move and crash without another QR code."""
    if verbose:
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        logging.getLogger("wwauth").setLevel(logging.DEBUG)


def main() -> None:
    """Run the command line; the exit code is 0, 1 after an error, 2 after a wrong call."""
    if sys.platform == "win32":
        # A pipe there has the code page's encoding, which has no QR code's blocks.
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8")
    app(prog_name="wwauth")
