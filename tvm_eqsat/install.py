"""Refuses package versions that are known to crash, before they do."""

from __future__ import annotations

from importlib import metadata

from .errors import InstallationError

#: apache-tvm-ffi 0.1.15 crashes the process at the first MetaSchedule record (JSON-graph serialisation, measured).
FFI_SERIES = "0.1.14"
TVM_SERIES = "0.27"


def check_installation() -> None:
    """Check the versions of TVM and its FFI package.

    Raises
    ------
    InstallationError
        A version that doesn't work is installed; the message names the command that mends it.
    """
    for package, series in (("apache-tvm-ffi", FFI_SERIES), ("apache-tvm", TVM_SERIES)):
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # built from source: the version can't be known, so it is the builder's choice
        if not (found + ".").startswith(series + "."):
            raise InstallationError(
                f"{package} {found} is installed, but tvm-eqsat works with {series}.*"
                + (" (0.1.15 crashes MetaSchedule)" if package == "apache-tvm-ffi" else "")
                + f"; mend it with: pip install '{package}=={series}.*'"
            )
