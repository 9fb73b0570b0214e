"""A socket that is open already when the process starts: systemd holds it, so that connections wait through a restart
instead of being refused. `sd_listen_fds(3)` is the protocol, and other supervisors speak it as well."""

import os
import socket
from collections.abc import MutableMapping

FIRST = 3
"""File descriptor of the first socket; those before are the standard streams."""

_VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


class NotOurs(ValueError):
    """What was handed over cannot be served on; the text says why, and how to mend it."""


def handed_over(environment: MutableMapping[str, str], pid: int) -> socket.socket | None:
    """The listening socket that this process was started with, None where there is none. It is taken once: the
    variables are gone then, so that no child believes they are for it. Raises `NotOurs`."""
    told = {name: environment.get(name, "") for name in _VARIABLES}
    if told["LISTEN_PID"] != str(pid) or not told["LISTEN_FDS"].isdecimal() or told["LISTEN_FDS"] == "0":
        return None  # it was for a process before us
    for name in _VARIABLES:
        environment.pop(name, None)
    if told["LISTEN_FDS"] != "1":
        raise NotOurs(f"{told['LISTEN_FDS']} sockets were handed over. Keep one ListenStream= in the socket unit.")
    try:
        listener = socket.socket(fileno=FIRST)
    except OSError as error:
        raise NotOurs(
            f"LISTEN_FDS names file descriptor {FIRST}, and that is no socket ({error.strerror}). "
            "Unset LISTEN_FDS, or start it by its socket unit."
        ) from error
    if not _listens(listener):
        listener.detach()
        raise NotOurs("the socket handed over does not listen. It has to be a ListenStream= of Accept=no.")
    os.set_inheritable(FIRST, False)  # the workers get it by other ways
    return listener


def _listens(listener: socket.socket) -> bool:
    return listener.type == socket.SOCK_STREAM and bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
