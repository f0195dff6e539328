"""Entry point of the group ``tvm.backends``: called by ``import tvm``, so it must stay small.

It makes ``relax.transform.EqSatOptimize`` and the pipeline ``"eqsat"`` reachable; everything else is imported when
one of them is first used.
"""

from __future__ import annotations

from typing import Any


def autoload() -> None:
    """Attach the pass and the pipeline to TVM. Calling it again changes nothing."""
    from tvm import relax

    if getattr(relax.transform, "EqSatOptimize", None) is not None:
        return

    def EqSatOptimize(*args: Any, **options: Any) -> Any:
        """Optimise a Relax module by equality saturation; see :class:`tvm_eqsat.transform.EqSatOptimize`."""
        from .transform import EqSatOptimize as real

        return real(*args, **options)

    relax.transform.EqSatOptimize = EqSatOptimize

    @relax.register_pipeline("eqsat")
    def eqsat(target: Any = None, **options: Any) -> Any:
        """TVM's default pipeline for the target, after :class:`tvm_eqsat.transform.EqSatOptimize`."""
        from .pipeline import eqsat_pipeline

        return eqsat_pipeline(target, **options)
