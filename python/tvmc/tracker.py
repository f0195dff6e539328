"""``--rpc-tracker host:port --rpc-key key``."""

from __future__ import annotations

from urllib.parse import urlsplit

from tvm.s_tir import meta_schedule as ms

from .errors import TVMCException

DEFAULT_PORT = 9090


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


def rpc_config(tracker: str | None, key: str | None, timeout_s: float) -> ms.runner.RPCConfig | None:
    """How MetaSchedule reaches remote devices; None without a tracker."""
    if tracker is None:
        if key is not None:
            raise TVMCException("--rpc-key needs --rpc-tracker")
        return None
    if key is None:
        raise TVMCException("need to provide an RPC tracker key (--rpc-key) for remote tuning")
    host, port = tracker_host_port_from_cli(tracker)
    return ms.runner.RPCConfig(
        tracker_host=host, tracker_port=port, tracker_key=key, session_timeout_sec=int(timeout_s)
    )
