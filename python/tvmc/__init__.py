"""The command line of TVM for Relax, and the same from Python.

>>> model = tvmc.load("model.onnx")                                          # doctest: +SKIP
>>> tvmc.tune(model, "llvm -mcpu=native", "records", trials=1000)            # doctest: +SKIP
>>> package = tvmc.compile(model, "llvm -mcpu=native", tuning_records="records")  # doctest: +SKIP
>>> print(tvmc.run(package))                                                 # doctest: +SKIP
"""

from .autotuner import tune_model as tune
from .compiler import compile_model as compile
from .errors import TVMCException, TVMCImportError
from .frontends import load_model as load
from .model import TVMCModel
from .package import TVMCPackage
from .result import TVMCResult
from .runner import run_module as run

__all__ = [
    "TVMCException",
    "TVMCImportError",
    "TVMCModel",
    "TVMCPackage",
    "TVMCResult",
    "compile",
    "load",
    "run",
    "tune",
]
