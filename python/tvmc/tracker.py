"""``--rpc-tracker host:port --rpc-key key``."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from tvm import rpc
from tvm.s_tir import meta_schedule as ms

from .errors import TVMCException, explained

DEFAULT_PORT = 9090

_PATIENCE_S = 5.0


def tracker_host_port_from_cli(text: str) -> tuple[str, int]:
    """Host and port; the port is 9090 where the text has none.

    Raises
    ------
    TVMCException
        There is no host, or the port isn't one.
    """
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError as err:
        raise TVMCException(f"--rpc-tracker {text}: {err}") from err
    if not host:
        raise TVMCException(f"--rpc-tracker {text} names no host; write e.g. 192.168.0.100:9999")
    return host, port


def check_reachable(host: str, port: int) -> None:
    """Fail at once where nothing listens; TVM itself would try again for a minute.

    Raises
    ------
    TVMCException
        Nobody answers.
    """
    try:
        socket.create_connection((host, port), _PATIENCE_S).close()
    except OSError as err:
        raise TVMCException(f"connecting to {host}:{port} failed: {err.strerror or err}") from err


def connect_tracker(host: str, port: int, key: str) -> rpc.TrackerSession:
    """A connection to the tracker, which has a device with this key.

    Raises
    ------
    TVMCException
        The tracker doesn't answer, or it has no such device.
    """
    check_reachable(host, port)
    with explained(f"asking the RPC tracker at {host}:{port} for its devices"):
        tracker = rpc.connect_tracker(host, port)
        keys = {str(server["key"]).removeprefix("server:") for server in tracker.summary()["server_info"]}
    if key not in keys:
        known = ", ".join(sorted(keys)) or "none"
        raise TVMCException(f"the RPC tracker at {host}:{port} has no device with the key '{key}'; it has: {known}")
    return tracker


def rpc_config(tracker: str | None, key: str | None, timeout_s: float) -> ms.runner.RPCConfig | None:
    """How MetaSchedule reaches remote devices; None without a tracker.

    Raises
    ------
    TVMCException
        A part is missing, the tracker doesn't answer, or it has no such device.
    """
    if tracker is None:
        if key is not None:
            raise TVMCException("--rpc-key needs --rpc-tracker")
        return None
    if key is None:
        raise TVMCException("need to provide an RPC tracker key (--rpc-key) for remote tuning")
    host, port = tracker_host_port_from_cli(tracker)
    connect_tracker(host, port, key)
    return ms.runner.RPCConfig(
        tracker_host=host, tracker_port=port, tracker_key=key, session_timeout_sec=int(timeout_s)
    )
