"""The public pass."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import tvm
from tvm import IRModule
from tvm.target import Target

from .cost.machine import machine_for
from .cost.pricer import KernelPricer
from .cost.pricing import pricer_for
from .cost.threads import available_cores
from .errors import OptionError, VerificationError
from .ffi_errors import register_errors
from .install import check_installation
from .options import EqSatOptions
from .rules import ALL, RuleSet
from .run_report import Report
from .stages import Optimizer

log = logging.getLogger("tvm_eqsat")

register_errors()


@tvm.transform.module_pass(opt_level=0, name="EqSatOptimize")
class EqSatOptimize:
    """Optimise a Relax module by equality saturation.

    Every dataflow block becomes an e-graph, which grows by rewrite rules; the cheapest programs in it are extracted,
    lowered through TVM's own fusion and priced; the best one takes the block's place. If none is predicted to be
    faster, the very same module is returned.

    Parameters
    ----------
    options : EqSatOptions, optional
        All options; the defaults if not given.
    target : tvm.target.Target, str or dict, optional
        What to optimise for: by default the current target, else this machine's CPU.
    rules : RuleSet, optional
        The rewrite rules; by default all of the package's. ``tvm_eqsat.rules.ALL + [my_rule]`` adds one.
    pricer : KernelPricer, optional
        Prices of fused kernels; by default the roofline of the target. A pricer of measured latencies plugs in here.
    **overrides
        Single options by name, e.g. ``node_limit=50_000``: see :class:`~tvm_eqsat.options.EqSatOptions`.

    Attributes
    ----------
    report : Report or None
        What the last run did.

    Raises
    ------
    OptionError
        An option or the target is wrong.
    InstallationError
        A package is installed in a version that is known not to work.

    Examples
    --------
    >>> optimize = relax.transform.EqSatOptimize(target={"kind": "llvm", "num-cores": 4})
    >>> mod = optimize(mod)
    >>> print(optimize.report)
    """

    def __init__(
        self,
        options: EqSatOptions | None = None,
        *,
        target: Target | str | dict[str, Any] | None = None,
        rules: RuleSet | None = None,
        pricer: KernelPricer | None = None,
        **overrides: Any,
    ) -> None:
        check_installation()
        if options is not None and not isinstance(options, EqSatOptions):
            raise OptionError(
                f"options must be an EqSatOptions, not {type(options).__name__}; a preset is EqSatOptions.preset(name)"
            )
        self.options = (options or EqSatOptions()).with_(**overrides)
        self.target = _target(target)
        self.rules = RuleSet(ALL if rules is None else rules).without(*self.options.exclude_rules)
        if self.options.numerics == "strict":
            self.rules = self.rules.exact()
        self.pricer = pricer
        self.report: Report | None = None

    def transform_module(self, mod: IRModule, ctx: tvm.transform.PassContext) -> IRModule:
        """Run the pass; ``report`` then holds its facts."""
        target = self.target or Target.current(allow_none=True) or host_target()
        pricer = self.pricer or pricer_for(target)
        run = Optimizer(self.options, self.rules, target, machine_for(target), pricer)
        run.report.target = str(target)
        run.report.options = dataclasses.asdict(self.options)
        self.report = run.report
        with target:
            found = run.run(mod)
        if self.options.verify and run.report.changed:
            found = self._verified(mod, found, target, run.report)
        log.info("%s", run.report.summary())
        return found

    def _verified(self, mod: IRModule, found: IRModule, target: Target, report: Report) -> IRModule:
        from .verify.module import compare_modules

        try:
            run = compare_modules(mod, found, target, seed=self.options.seed)
        except VerificationError as err:
            if self.options.on_mismatch == "raise":
                raise
            log.warning("the original module is kept: %s", err)
            report.verification = f"failed, the original module was kept: {err}"
            report.changed = False
            return mod
        report.verification = str(run)
        return found


def host_target() -> Target:
    """The CPU of this machine, with the cores that this process may use."""
    from tvm.target import codegen

    return Target({"kind": "llvm", "mcpu": codegen.llvm_get_system_cpu(), "num-cores": available_cores()})


def _target(target: Target | str | dict[str, Any] | None) -> Target | None:
    if target is None or isinstance(target, Target):
        return target
    try:
        return Target(target)
    except Exception as err:  # TVM raises many kinds
        raise OptionError(f"target {target!r} is not valid: {str(err).strip().splitlines()[-1]}") from err
