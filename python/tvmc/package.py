"""A compiled model on disk: a shared library that knows its own inputs, alone or in a .tar archive."""

from __future__ import annotations

import json
import os
import struct
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from .errors import TVMCException, explained

#: A Relax function of every library made by tvmc: it returns, as JSON, what is known of the module.
METADATA = "__tvmc_metadata__"
LIBRARY_SUFFIXES = (".so", ".dylib", ".dll")


def embed_metadata(mod: tvm.IRModule, metadata: Mapping[str, Any]) -> tvm.IRModule:
    """The module, with a function :data:`METADATA` that returns ``metadata``."""
    text = tvm.ir.StringImm(json.dumps(metadata, sort_keys=True))
    mod = mod.clone()
    mod.update_func(tvm.ir.GlobalVar(METADATA), relax.Function([], text).with_attr("global_symbol", METADATA))
    return mod


def read_metadata(vm: relax.VirtualMachine) -> dict[str, Any] | None:
    """What the loaded library knows of itself; None when tvmc didn't make it."""
    try:
        function = vm[METADATA]
    except AttributeError:
        return None
    data = json.loads(str(function()))
    return data if isinstance(data, dict) else None


def library_name(path: Path) -> str:
    """``so`` or ``tar``, by the suffix of an output file."""
    if path.suffix == ".tar":
        return "tar"
    if path.suffix in LIBRARY_SUFFIXES:
        return "so"
    raise TVMCException(f"the output '{path}' must end in {', '.join(LIBRARY_SUFFIXES)} or .tar")


def check_whole(path: Path) -> None:
    """Raise if a shared library was cut short: the loader would take the process down instead.

    Only ELF files are checked; their section table is the last thing in them.
    """
    with path.open("rb") as file:
        header = file.read(64)
    if header[:4] != b"\x7fELF":
        return
    end = ">" if header[5:6] == b"\x02" else "<"
    wide = header[4:5] == b"\x02"
    try:
        table = struct.unpack_from(end + "Q", header, 40)[0] if wide else struct.unpack_from(end + "I", header, 32)[0]
        size, count = struct.unpack_from(end + "HH", header, 58 if wide else 46)
    except struct.error:
        table = size = count = os.path.getsize(path)
    if table + size * count > os.path.getsize(path):
        raise TVMCException(f"'{path}' is cut short: the shared library isn't whole")


class TVMCPackage:
    """A compiled model.

    Parameters
    ----------
    path : str or Path
        A shared library, or a .tar archive that holds one.
    metadata : dict, optional
        What the library says of itself, where that is known already.

    Raises
    ------
    TVMCException
        There is no such file, or it is neither.
    """

    def __init__(self, path: str | Path, metadata: Mapping[str, Any] | None = None) -> None:
        self.path = Path(path)
        self.metadata = dict(metadata or {})
        if not self.path.exists():
            raise TVMCException(f"File {path} does not exist.")
        if self.path.is_dir():
            raise TVMCException(f"File {path} must be a shared library or an archive, not a directory.")
        if self.path.suffix == ".tar":
            self.library = self._unpack()
        elif self.path.suffix in LIBRARY_SUFFIXES:
            self.library = self.path
        else:
            raise TVMCException(
                f"'{path}' isn't a compiled model, which ends in {', '.join(LIBRARY_SUFFIXES)} or .tar; "
                "make one with tvmc compile"
            )
        check_whole(self.library)

    def _unpack(self) -> Path:
        self._folder = tempfile.TemporaryDirectory(prefix="tvmc-")
        with explained(f"reading the archive '{self.path}'"), tarfile.open(self.path) as archive:
            for name in archive.getnames():
                if Path(name).suffix in LIBRARY_SUFFIXES and (member := archive.extractfile(name)) is not None:
                    library = Path(self._folder.name) / Path(name).name
                    library.write_bytes(member.read())
                    return library
        raise TVMCException(f"the archive '{self.path}' holds no shared library")


def pack(path: Path, library: Path, metadata: Mapping[str, Any]) -> None:
    """Write a .tar archive with the library and its metadata as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        described = Path(folder) / "metadata.json"
        described.write_text(json.dumps(metadata, indent=2, sort_keys=True), encoding="utf-8")
        with tarfile.open(path, "w") as archive:
            archive.add(library, "mod.so")
            archive.add(described, "metadata.json")
