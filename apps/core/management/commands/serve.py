"""Serves the web application with Waitress, until SIGTERM or Ctrl+C; or looks whether it is served.

Steps: opens the address of WEB_LISTEN, then serves on it with WEB_THREADS threads. When asked to
stop, it takes no new requests and gives those at work five seconds to end. Exit codes: 0 stopped as
asked, 1 could not start, 2 wrong usage.

With --probe SECONDS it serves nothing, but asks WEB_LISTEN until it answers: 0 it does, 1 it does
not within that time. Install and update end with that.

What a proxy in front (IIS, nginx) says about the browser, its address, host name and scheme, is
believed only if the connection comes from WEB_TRUSTED_PROXY. Waitress then corrects the request
itself and drops these headers everywhere else. So Django sees a plain https request, and needs
neither SECURE_PROXY_SSL_HEADER nor USE_X_FORWARDED_HOST nor CSRF_TRUSTED_ORIGINS.
"""

from __future__ import annotations

import errno
import ipaddress
import signal
import socket
import sys
import time
from http.client import HTTPConnection, HTTPException
from types import FrameType
from typing import Any, NoReturn

import waitress
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.wsgi import get_wsgi_application

# A supplier's file is far smaller. IIS and nginx are told the same (scripts/windows/web.config).
LARGEST_REQUEST = 32 * 1024 * 1024
# First line and headers together: more than any browser sends, little for whoever fills logs.
LARGEST_HEADER = 32 * 1024

_FORWARDED = {"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}
_STOP_SIGNALS = ("SIGTERM", "SIGINT", "SIGBREAK")  # the last one is Windows' own


class Command(BaseCommand):
    help = "Serves the web application; the address and all else come from the settings WEB_*."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--probe",
            type=int,
            metavar="SECONDS",
            help="serve nothing; wait so long for the one that is started to answer",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["probe"] is not None:
            _probe(settings.WEB_LISTEN, options["probe"])
            self.stdout.write(f"The web application answers on {settings.WEB_LISTEN}.")
            return
        threads = _threads(settings.WEB_THREADS)
        proxy = _trusted_proxy(settings.WEB_TRUSTED_PROXY)
        listener = _open(settings.WEB_LISTEN)
        for name in _STOP_SIGNALS:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), _stop)
        server = waitress.create_server(
            get_wsgi_application(),
            sockets=[listener],
            threads=threads,
            ident=None,  # nobody needs to know which server this is
            max_request_body_size=LARGEST_REQUEST,
            max_request_header_size=LARGEST_HEADER,
            clear_untrusted_proxy_headers=True,
            **({"trusted_proxy": proxy, "trusted_proxy_headers": _FORWARDED} if proxy else {}),
        )
        if proxy:
            self.stdout.write(f"What the proxy {proxy} says about the browser is believed.")
        elif getattr(settings, "SECURE_SSL_REDIRECT", False):
            self.stderr.write(
                "WEB_TRUSTED_PROXY is not set, so every request looks like plain http and is sent "
                "to https. If a proxy with a certificate stands in front, name its address there "
                "(on this machine: 127.0.0.1); otherwise browsers go in circles."
            )
        self.stdout.write(f"PO Tracking listens on http://{_shown(listener)}")
        self.stdout.flush()
        server.run()  # comes back when _stop has been called
        listener.close()
        self.stdout.write("PO Tracking has stopped.")


def _probe(address: str, seconds: int) -> None:
    """Waits until something speaks HTTP there; raises CommandError when the time is over.

    Whatever it answers: a database that is down is doctor's to tell.
    """
    host, port = _parts(address)
    if host in ("0.0.0.0", "::"):  # noqa: S104  # asked on this machine
        host = "localhost"
    until = time.monotonic() + seconds
    while True:
        link = HTTPConnection(host, port, timeout=5)
        try:
            link.request("GET", "/healthz")
            link.getresponse()
        except (OSError, HTTPException) as error:
            if time.monotonic() >= until:
                raise CommandError(
                    f"The web application does not answer on {address} ({error}). Look into "
                    "application.log, or start it by hand: manage.py serve"
                ) from error
            time.sleep(0.5)
        else:
            return
        finally:
            link.close()


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """Waitress ends cleanly on SystemExit."""
    sys.exit(0)


def _parts(address: str) -> tuple[str, int]:
    """Host and port of WEB_LISTEN; raises CommandError where it has no such form."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise CommandError(
            f'WEB_LISTEN is "{address}". Write it as address:port, for example 127.0.0.1:8000.'
        )
    return host, int(port)


def _open(address: str) -> socket.socket:
    """The socket that listens on the address; raises CommandError in words.

    It is opened here and not by Waitress, which would let two servers share one port on Windows.
    """
    host, port = _parts(address)
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise CommandError(
            f'The host "{host}" of WEB_LISTEN is not known ({error.strerror}). Write an address of '
            "this machine, for example 127.0.0.1:8000."
        ) from error
    listener = socket.socket(family, kind, protocol)
    if family == socket.AF_INET6:
        # Else a proxy on IPv4 would come as ::ffff:127.0.0.1, which no setting names.
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if sys.platform == "win32":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:  # else the port stays closed for a minute after each restart
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(target)
        listener.listen()  # on Linux it is only now that two servers would get in each other's way
    except OSError as error:
        listener.close()
        raise CommandError(_why_not(address, error)) from error
    return listener


def _why_not(address: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"{address} is in use: another program listens there, most likely another PO Tracking. "
            "Stop it, or set WEB_LISTEN to another port."
        )
    if error.errno == errno.EACCES:
        return (
            f"This account may not listen on {address}: the port is reserved, or in use. Set "
            "WEB_LISTEN to a free port above 1024."
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"This machine has no address {address}. Correct WEB_LISTEN."
    return f"Cannot listen on {address}: {error.strerror}. Correct WEB_LISTEN."


def _trusted_proxy(address: str) -> str:
    """The address in the form in which connections have it; "" if no proxy is trusted."""
    if not address:
        return ""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError as error:
        raise CommandError(
            f'WEB_TRUSTED_PROXY is "{address}". Write the one address from which the proxy '
            "connects, for example 127.0.0.1."
        ) from error


def _threads(number: int) -> int:
    if number < 1:
        raise CommandError(f"WEB_THREADS is {number}. At least one thread must answer requests.")
    return number


def _shown(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
