"""From a model file to a Relax module, by ``--model-format`` or the file's suffix.

Frameworks are imported only when a file of theirs is read.
"""

from __future__ import annotations

import importlib
import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
from tvm import tirx

from .errors import TVMCException, TVMCImportError, explained
from .model import TVMCModel

logger = logging.getLogger("TVMC")

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Frontend:
    """How one model format is read."""

    suffixes: tuple[str, ...]
    load: Callable[[Path, Shapes | None], TVMCModel]


def load_model(path: str | Path, model_format: str | None = None, shapes: Shapes | None = None) -> TVMCModel:
    """Read a model file.

    Parameters
    ----------
    path : str or Path
        The file.
    model_format : str, optional
        One of :data:`FRONTENDS`; by default, what the suffix says.
    shapes : dict of str to sequence of int, optional
        Shapes of inputs that the file leaves open; a negative dimension stays dynamic.

    Raises
    ------
    TVMCException
        The file can't be read as that format, or the shapes contradict it.
    TVMCImportError
        The framework isn't installed.
    """
    path = Path(path)
    if not path.is_file():
        raise TVMCException(f"Input file '{path}' doesn't exist, is a broken symbolic link, or a directory.")
    known = ", ".join(FRONTENDS)
    if model_format is None:
        found = [frontend for frontend in FRONTENDS.values() if path.suffix.lower() in frontend.suffixes]
        if not found:
            raise TVMCException(
                f"failed to infer the model format of '{path}'. Please specify --model-format, one of: {known}"
            )
        frontend = found[0]
    elif model_format in FRONTENDS:
        frontend = FRONTENDS[model_format]
    else:
        advice = _GONE.get(model_format)
        raise TVMCException(f"model format '{model_format}' " + (advice or f"is not known. Choose from: {known}"))
    return frontend.load(path, shapes)


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as err:
        raise TVMCImportError(name.partition(".")[0]) from err


def _load_onnx(path: Path, shapes: Shapes | None) -> TVMCModel:
    onnx = _package("onnx")
    with explained(f"reading '{path}' as ONNX"):
        model = onnx.load(str(path))
    if not model.graph.output or not model.opset_import:
        raise TVMCException(f"'{path}' is not a whole ONNX model: it has no outputs or no operator set")
    weights = {tensor.name for tensor in model.graph.initializer}
    declared = {
        value.name: _onnx_dims(value.type.tensor_type) for value in model.graph.input if value.name not in weights
    }
    wanted = _resolved(shapes or {}, declared)
    with explained(f"importing '{path}'"), warnings.catch_warnings():
        warnings.simplefilter("ignore" if wanted else "default")  # TVM warns of each dimension left open
        warnings.filterwarnings("ignore", message="Renaming name")
        frontend = importlib.import_module("tvm.relax.frontend.onnx")
        mod = frontend.from_onnx(model, shape_dict=wanted)
    return TVMCModel(mod, input_names=tuple(declared), name=path.name)


def _onnx_dims(type_: Any) -> list[int | None] | None:
    """Dimensions, None where left open; None for an unknown rank."""
    if not type_.HasField("shape"):
        return None
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in type_.shape.dim]


def _resolved(shapes: Shapes, declared: Mapping[str, list[int | None] | None]) -> dict[str, list[Any]]:
    """Shapes as the importer takes them, after checking them against what the model declares."""
    resolved: dict[str, list[Any]] = {}
    for name, shape in shapes.items():
        if name not in declared:
            raise TVMCException(f"--input-shapes names '{name}', but the model's inputs are: {', '.join(declared)}")
        dims = declared[name]
        fixed = dims is not None and (
            len(dims) != len(shape) or any(d is not None and s != d for d, s in zip(dims, shape, strict=True))
        )
        if fixed:
            text = ",".join("?" if dim is None else str(dim) for dim in dims or ())
            raise TVMCException(
                f"--input-shapes gives '{name}' the shape {list(shape)}, but the model fixes it as [{text}]; "
                "only dimensions shown as ? can be chosen"
            )
        resolved[name] = [dim if dim >= 0 else tirx.Var(f"{name}_{i}", "int64") for i, dim in enumerate(shape)]
    return resolved


def _load_pytorch(path: Path, shapes: Shapes | None) -> TVMCModel:
    torch = _package("torch")
    if shapes:
        raise TVMCException("--input-shapes can't change an exported program: export it with the shapes you want")
    with explained(f"reading '{path}' as an exported PyTorch program (torch.export.save)"):
        program = torch.export.load(str(path))
    with explained(f"importing '{path}'"):
        frontend = importlib.import_module("tvm.relax.frontend.torch")
        mod = frontend.from_exported_program(program, unwrap_unit_return_tuple=True)
    return TVMCModel(mod, name=path.name)


def _load_relax(path: Path, shapes: Shapes | None) -> TVMCModel:
    if shapes:
        raise TVMCException("--input-shapes can't change a Relax module: its shapes are part of it")
    with explained(f"reading '{path}' as a Relax module in TVM's JSON"):
        text = path.read_text(encoding="utf-8")
        json.loads(text)  # TVM's own reader isn't as careful
        mod = tvm.ir.load_json(text)
    if not isinstance(mod, tvm.IRModule):
        raise TVMCException(f"'{path}' holds a {type(mod).__name__}, not a module")
    return TVMCModel(mod, name=path.name)


FRONTENDS = {
    "onnx": Frontend((".onnx",), _load_onnx),
    "pytorch": Frontend((".pt2",), _load_pytorch),
    "relax": Frontend((".json",), _load_relax),
}

_EXPORT = "went with Relay; export the model to ONNX"
_GONE = {
    "relay": "went with Relay; save a Relax module with tvmc.TVMCModel(mod).save('model.json') and use 'relax'",
    "keras": _EXPORT,
    "pb": _EXPORT,
    "paddle": _EXPORT,
    "tflite": "isn't read here; import it with tvm.relax.frontend.tflite, save it with TVMCModel.save, use 'relax'",
}
