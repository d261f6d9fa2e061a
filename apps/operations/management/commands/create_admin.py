"""Makes a user with the role administrator, who can then make all others.

The password is typed twice. A script gives it as the first line of standard input
(`--password-stdin`) or in the variable PO_TRACKING_ADMIN_PASSWORD; never as an argument, which
everybody on the machine can see. Exit codes: 0 made, or with `--unless-one-exists` not needed;
1 refused; 2 wrong usage; 4 the database is being written by another process.
"""

from __future__ import annotations

import os
import sys
from getpass import getpass
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.ingestion.management.output import actor, told
from apps.operations.administrators import check_name, create_administrator, has_administrator

PASSWORD_VARIABLE = "PO_TRACKING_ADMIN_PASSWORD"  # noqa: S105  # the variable's name, no password


class Command(BaseCommand):
    help = "Makes a user with the role administrator."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="the name to sign in with")
        parser.add_argument("--email", default="", help="where the administrator is reached")
        parser.add_argument(
            "--password-stdin", action="store_true",
            help="read the password from standard input",
        )  # fmt: skip
        parser.add_argument(
            "--unless-one-exists", action="store_true",
            help="do nothing if there is an active administrator already",
        )  # fmt: skip

    def handle(self, *args: Any, **options: Any) -> None:
        with told(self, as_json=False):
            if options["unless_one_exists"] and has_administrator():
                self.stdout.write("There is an administrator already.")
                return
            try:
                name = check_name(options["name"])  # before anybody types a password for it
                user = create_administrator(
                    name=name,
                    email=options["email"],
                    password=_password(from_stdin=options["password_stdin"]),
                    actor=actor(),
                )
            except ValidationError as error:
                raise CommandError("\n".join(error.messages)) from error
        self.stdout.write(f'The administrator "{user.username}" can sign in now.')


def _password(*, from_stdin: bool) -> str:
    """What was typed or handed over; raises CommandError if that is nothing."""
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif PASSWORD_VARIABLE in os.environ:
        password = os.environ[PASSWORD_VARIABLE]
    elif sys.stdin.isatty():
        password = getpass("Password: ")
        if getpass("Password (again): ") != password:
            raise CommandError("The two passwords differ. Nothing was saved.")
    else:
        raise CommandError(
            "Nobody is there to type a password. Give it on standard input with --password-stdin, "
            f"or in the variable {PASSWORD_VARIABLE}."
        )
    if not password:
        raise CommandError("The password is empty. Nothing was saved.")
    return password
