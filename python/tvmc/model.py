"""A model ready to be compiled or tuned: what ``tvmc.load`` returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from .errors import TVMCException, explained
from .files import write_text


class TVMCModel:
    """A Relax module whose function ``main`` is the model.

    Parameters
    ----------
    mod : tvm.IRModule
        The module.
    params : dict of str to array, optional
        Values of parameters of ``main``, by name: they become constants.
    input_names : sequence of str, optional
        What the user calls the inputs of ``main``, in order, where it differs from the parameters' names.
    name : str
        What the model is called in reports.

    Raises
    ------
    TVMCException
        The module has no function ``main``.
    """

    def __init__(
        self,
        mod: tvm.IRModule,
        params: Mapping[str, Any] | None = None,
        input_names: Sequence[str] | None = None,
        name: str = "model",
    ) -> None:
        functions = {gv.name_hint: function for gv, function in mod.functions.items()}
        if not isinstance(functions.get("main"), relax.Function):
            raise TVMCException(
                f"the module has no Relax function 'main'; it has: {', '.join(sorted(functions)) or 'none'}"
            )
        if params:
            with explained("binding the parameters of 'main'"):
                mod = relax.transform.BindParams("main", dict(params))(mod)
        self.mod = mod
        self.name = name
        names = [var.name for var in mod["main"].params]
        self.input_names = tuple(input_names) if input_names is not None else tuple(names)
        if len(self.input_names) != len(names):
            raise TVMCException(f"'main' has {len(names)} inputs, but {len(self.input_names)} names were given")

    def save(self, path: str | Path) -> None:
        """Write the module as JSON, which ``tvmc --model-format relax`` reads."""
        write_text(path, tvm.ir.save_json(self.mod))

    def summary(self) -> str:
        """The module as TVMScript."""
        return str(self.mod.script())
