"""The group of all commands, and what becomes of an error."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version

import click

from cloudstate_core.cli.setup import Setup, config_option, named_config
from cloudstate_core.errors import CloudstateError, ConfigurationError, RegistrationError
from cloudstate_core.installation import check_installation

__all__ = ["main"]

#: Nothing was started: the operator or the author of an entity has to change something first.
EXIT_NOT_STARTED = 2
EXIT_FAILED = 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and exit.

    An error of ours becomes one line on the standard error stream, without a traceback.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        check_installation()
        setup = Setup.read(named_config(arguments), os.environ)
        _group(setup).main(arguments, prog_name="cloudstate", obj=setup)
    except CloudstateError as error:
        click.echo(f"error: {_in_one_line(error)}", err=True)
        not_started = isinstance(error, ConfigurationError | RegistrationError)
        sys.exit(EXIT_NOT_STARTED if not_started else EXIT_FAILED)


def _group(setup: Setup) -> click.Group:
    group = click.Group(
        "cloudstate",
        commands=setup.plugins.commands,
        help="Serve stateful entities over the Cloudstate protocol.",
        context_settings={"help_option_names": ["-h", "--help"]},
        no_args_is_help=True,
    )
    return _version_option(config_option(group))


def _version_option(group: click.Group) -> click.Group:
    return click.option(
        "--version",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_print_version,
        help="Print the version and exit.",
    )(group)


def _print_version(context: click.Context, _option: click.Parameter, wanted: object) -> None:
    if wanted:
        click.echo(f"cloudstate {version('cloudstate-core')} (Python {platform.python_version()})")
        context.exit()


def _in_one_line(error: CloudstateError) -> str:
    parts = [str(error), error.detail] if error.detail else [str(error)]
    text = " ".join(": ".join(parts).split())
    return "".join(character if character.isprintable() else "?" for character in text)
