"""`doctor`: what is installed and what of it works."""

from __future__ import annotations

from pathlib import Path

import click

from fornet_keras.cli.group import FAILED, Command
from fornet_keras.cli.options import json_option
from fornet_keras.cli.result import write_json
from fornet_keras.cli.screen import ERRORS, show_table
from fornet_keras.doctor import examine


@click.command(
    cls=Command,
    short_help="Versions, and which backends work.",
    examples=["doctor", "doctor --json doctor.json"],
)
@json_option
@click.pass_context
def doctor(context: click.Context, json_file: Path | None) -> None:
    """Show versions, and let each backend compute something on its devices."""
    with ERRORS.status("starting …") as status:
        findings = examine(on_backend=lambda backend: status.update(f"starting {backend} …"))
    write_json(json_file, findings)
    versions = {"python": findings["python"], **findings["packages"]}
    show_table(
        "Versions", ("package", "version"), ((name, versions[name] or "–") for name in versions), False
    )
    rows = [
        (entry["backend"], "yes" if entry["works"] else "no", ", ".join(entry["devices"]) or entry["problem"])
        for entry in findings["backends"]
    ]
    show_table("Backends", ("backend", "works", "devices"), rows, False)
    click.echo(f"Without --backend: {findings['default_backend'] or 'none'} ({findings['default_reason']})")
    if findings["note"]:
        click.echo(findings["note"])
    if not findings["works"]:
        click.echo("Error: no backend works; install one of them", err=True)
        context.exit(FAILED)
