"""Equality saturation inside Apache TVM.

After ``import tvm`` (or ``import tvm_eqsat``, where entry points are switched off) the pass
``tvm.relax.transform.EqSatOptimize`` and the pipeline ``relax.get_pipeline("eqsat", target=…)`` are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import EqSatError

__version__ = "0.1.0"
__all__ = ["EqSatError", "EqSatOptimize", "EqSatOptions", "__version__"]

if TYPE_CHECKING:
    from .options import EqSatOptions
    from .transform import EqSatOptimize


def __getattr__(name: str) -> Any:
    # Lazy, so that the entry point, which runs inside `import tvm`, stays light and free of import cycles.
    if name == "EqSatOptimize":
        from .transform import EqSatOptimize

        return EqSatOptimize
    if name == "EqSatOptions":
        from .options import EqSatOptions

        return EqSatOptions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _attach() -> None:
    import tvm  # runs the entry point unless auto-loading is switched off

    from ._autoload import autoload

    if hasattr(tvm, "relax"):  # else this import happens inside `import tvm`, which calls autoload itself
        autoload()


_attach()
