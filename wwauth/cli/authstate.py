"""`wwauth authstate`: looking after the auth states of socket clients, Baileys' for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ._authstate import DryRun, KeyFile, SessionName, Target, counted, opened_auth_state, session_of, sessions_of
from ._lazy import LazyGroup
from ._session import Json, as_dict, print_json, run, table, wrong_use

if TYPE_CHECKING:
    from pathlib import Path

    from ..authstate.prune import PrunePolicy
    from ..authstate.verify import VerifiedAuthState

# Each with its module, where that is not this one, and the function.
_COMMANDS = {
    "backup": "authstate_backup.backup",
    "export": "authstate_moves.export_folder",
    "import": "authstate_moves.import_folder",
    "inspect": "authstate.inspect",
    "keygen": "authstate_keys.keygen",
    "migrate": "authstate_moves.migrate",
    "prune": "authstate.prune",
    "rekey": "authstate_keys.rekey",
    "restore": "authstate_backup.restore",
    "verify": "authstate.verify",
}


class _Commands(LazyGroup):
    homes = _COMMANDS


authstate = typer.Typer(name="authstate", cls=_Commands, no_args_is_help=True, add_completion=False)


@authstate.callback()
def _authstate() -> None:
    """Look after the credentials and keys of socket clients: a folder of Baileys' files, or a database."""


def inspect(target: Target, session: SessionName = None, key_file: KeyFile = None, *, json: Json = False) -> None:
    """Say what is there: records and bytes by type, whose login it is. Never a secret; nothing is changed."""
    run(_inspect(target, session, key_file, json=json))


async def _inspect(target: str, session: str | None, key_file: Path | None, *, json: bool) -> bool:
    reports = await _looked_at(target, session, key_file)
    if json:
        facts = ("session", "me", "platform", "registered", "records", "bytes")
        print_json([{name: getattr(report, name) for name in facts} for report in reports])
        return True
    for report in reports:
        typer.echo(f"{report.session}\n  {_owner(report)}")
        rows = [("type", "records", "bytes"), *((kind, str(n), str(report.bytes[kind])) for kind, n in report.records.items())]
        rows.append(("together", str(sum(report.records.values())), str(sum(report.bytes.values()))))
        typer.echo("\n".join(table(rows, right=frozenset({1, 2}))))
    return True


def verify(target: Target, session: SessionName = None, key_file: KeyFile = None, *, json: Json = False) -> None:
    """
    Check credentials and keys: lengths, pairs, signatures, gaps, what is torn, and what each finding means.

    The exit code is 1 when something is damaged or lost. Nothing is changed, and a program that runs need not be stopped.
    """
    run(_verify(target, session, key_file, json=json))


async def _verify(target: str, session: str | None, key_file: Path | None, *, json: bool) -> bool:
    reports = await _looked_at(target, session, key_file)
    if json:
        print_json([as_dict(report, ok=report.ok) for report in reports])
    else:
        for report in reports:
            verdict = "ok" if report.ok else "DAMAGED"
            typer.echo(f"{report.session}: {verdict}, {sum(report.records.values())} records, {_owner(report)}")
            for finding in report.findings:
                typer.echo(f"  {finding.severity}: {finding.record}: {finding.meaning}. {finding.cure}")
    return all(report.ok for report in reports)


async def _looked_at(target: str, session: str | None, key_file: Path | None) -> list[VerifiedAuthState]:
    from ..authstate.verify import verify as look  # noqa: PLC0415 - after a wrong call is known for one

    async with opened_auth_state(target, key_file) as store:
        return [await look(store, name) for name in await sessions_of(store, target, session)]


def _owner(report: VerifiedAuthState) -> str:
    if report.me is None:
        lost = any(finding.severity == "error" and finding.record == "creds" for finding in report.findings)
        return "the credentials are missing or damaged" if lost else "no device is linked"
    return f"{report.me}{'' if report.platform is None else f' ({report.platform})'}"


def prune(
    target: Target,
    session: SessionName = None,
    keep_pre_keys: Annotated[
        int | None, typer.Option(min=0, help="How many uploaded pre-keys stay, the newest ones; 2000 when not given.")
    ] = None,
    closed_days: Annotated[
        float | None, typer.Option(min=0, help="How long closed sessions stay; 30 days when not given.")
    ] = None,
    unused_days: Annotated[
        float | None, typer.Option(min=0, help="Sessions go that were not used for so long; none when not given.")
    ] = None,
    left_group: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A group that was left: its sender keys go; may be repeated.")
    ] = None,
    key_file: KeyFile = None,
    *,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """
    Delete keys that are not needed any more, in one write; never those that the next connection needs.

    Refused while a program of wwauth's has the session. Baileys knows no lock: stop it first.
    """
    from ..authstate.prune import PrunePolicy  # noqa: PLC0415 - as above

    given = {"keep_pre_keys": keep_pre_keys, "closed_sessions_days": closed_days, "unused_sessions_days": unused_days}
    with wrong_use():
        policy = PrunePolicy(
            left_groups=frozenset(left_group or ()),
            **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
        )
    run(_prune(target, session, policy, key_file, dry_run=dry_run, json=json))


async def _prune(
    target: str, session: str | None, policy: PrunePolicy, key_file: Path | None, *, dry_run: bool, json: bool
) -> bool:
    from ..authstate.prune import prune as prune_it  # noqa: PLC0415 - as above

    async with opened_auth_state(target, key_file) as store:
        report = await prune_it(store, await session_of(store, target, session), policy, dry_run=dry_run)
    if json:
        print_json(as_dict(report))
        return True
    what = "to delete" if dry_run else "deleted"
    typer.echo(f"{report.session}: {what}: {counted(report.deleted)}; pre-keys that stay: {report.pre_keys_kept}")
    if report.closed_sessions:
        typer.echo(f"  closed sessions {what}: {report.closed_sessions}, from {report.sessions_trimmed} records that stay")
    return True
