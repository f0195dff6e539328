"""The public pass."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from pathlib import Path
from typing import Any

import tvm
from tvm import IRModule
from tvm.target import Target

from .cost.machine import machine_for
from .cost.pricer import KernelPricer
from .cost.pricing import pricer_for
from .cost.threads import available_cores
from .cost.tuning import KernelTuner, local_tuner
from .decisions import Decisions
from .errors import OptionError, VerificationError
from .ffi_errors import register_errors
from .install import check_installation
from .interrupt import interruptible
from .joint import JointOptimizer
from .options import EqSatOptions
from .rules import ALL, RuleSet
from .rules.layouts import restricted
from .run_report import Report
from .selection import Selection
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
    trials : int
        Tune: measure so many schedules of kernels at most, first to choose among programs, then to make the kernels of
        the chosen one fast. Records go to ``database``. Ctrl-C ends the tuning early and keeps what was measured.
    database : str or pathlib.Path, optional
        A MetaSchedule database, made if need be. Prices come from its records, and if it was tuned for this module, the
        program that was chosen then is chosen again: give it to whatever compiles the result. Without ``trials`` it is
        only read.
    tuner : KernelTuner, optional
        Tunes in place of this package's engine on this machine; ``database`` is its store then.
    pricer : KernelPricer, optional
        Prices of fused kernels; by default measured latencies of ``database``, else learned ones, else the roofline of
        the target.
    **overrides
        Single options by name, e.g. ``node_limit=50_000``: see :class:`~tvm_eqsat.options.EqSatOptions`.

    Attributes
    ----------
    report : Report or None
        What the last run did.

    Raises
    ------
    OptionError
        An option, the target or the database is wrong, or arguments don't go together.
    InstallationError
        A package is installed in a version that is known not to work.

    Examples
    --------
    >>> optimize = relax.transform.EqSatOptimize(target={"kind": "llvm", "num-cores": 4})
    >>> mod = optimize(mod)
    >>> print(optimize.report)

    With kernels tuned on the way, which ``MetaScheduleApplyDatabase`` puts in after fusion:

    >>> mod = relax.transform.EqSatOptimize(target=target, trials=1000, database="tuned")(mod)
    """

    def __init__(
        self,
        options: EqSatOptions | None = None,
        *,
        target: Target | str | dict[str, Any] | None = None,
        rules: RuleSet | None = None,
        trials: int = 0,
        database: str | Path | None = None,
        tuner: KernelTuner | None = None,
        pricer: KernelPricer | None = None,
        **overrides: Any,
    ) -> None:
        check_installation()
        _check_tuning(trials, database, tuner, pricer)
        if options is not None and not isinstance(options, EqSatOptions):
            raise OptionError(
                f"options must be an EqSatOptions, not {type(options).__name__}; a preset is EqSatOptions.preset(name)"
            )
        self.options = (options or EqSatOptions()).with_(**overrides)
        self.target = _target(target)
        self.rules = RuleSet(ALL if rules is None else rules).without(*self.options.exclude_rules)
        self.rules = restricted(self.rules, self.options.layouts)
        if self.options.numerics == "strict":
            self.rules = self.rules.exact()
        self.trials = trials
        self.database = database
        self.tuner = tuner
        self.pricer = pricer
        self.report: Report | None = None

    def transform_module(self, mod: IRModule, ctx: tvm.transform.PassContext) -> IRModule:
        """Run the pass; ``report`` then holds its facts."""
        target = self.target or Target.current(allow_none=True) or host_target()
        with target, contextlib.ExitStack() as stack:
            run = self._optimizer(target, stack)
            run.report.target = str(target)
            run.report.options = dataclasses.asdict(self.options)
            self.report = run.report
            found = run.run(mod)
        if self.options.verify and run.report.changed:
            found = self._verified(mod, found, target, run.report)
        log.info("%s", run.report.summary())
        return found

    def _optimizer(self, target: Target, stack: contextlib.ExitStack) -> Optimizer:
        """What does the work; what it needs is closed with the stack."""
        machine = machine_for(target)
        if not self.trials:
            decisions = Decisions(self.database, target, prepack=self.options.prepack) if self.database else None
            pricer = self.pricer or pricer_for(target, self.database or "")
            return Optimizer(self.options, self.rules, Selection(self.options, target, machine, pricer, decisions))
        tuner = self.tuner or stack.enter_context(local_tuner(target, self.database or "", self.options.seed))
        decisions = Decisions(tuner.store.folder, target, prepack=self.options.prepack)
        selection = Selection(self.options, target, machine, pricer_for(target, tuner.store), decisions, binding=False)
        stopping = stack.enter_context(interruptible())
        return JointOptimizer(self.options, self.rules, selection, tuner, self.trials, stopping)

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


def _check_tuning(trials: Any, database: Any, tuner: Any, pricer: Any) -> None:
    if not isinstance(trials, int) or isinstance(trials, bool) or trials < 0:
        raise OptionError(f"trials={trials!r} is not valid; it takes a whole number, 0 for no tuning")
    if database is not None and not isinstance(database, str | Path):
        raise OptionError(f"database={database!r} is not valid; it takes the path of a directory")
    if trials and not database and tuner is None:
        raise OptionError(f"trials={trials} needs database=DIR: where the tuned kernels are kept for compiling")
    if tuner is not None and (database or not trials):
        raise OptionError("tuner needs trials, and has a database of its own")
    if pricer is not None and (database or tuner is not None):
        raise OptionError("give either a pricer or a database: the prices of a database have a pricer of their own")


def _target(target: Target | str | dict[str, Any] | None) -> Target | None:
    if target is None or isinstance(target, Target):
        return target
    try:
        return Target(target)
    except Exception as err:  # TVM raises many kinds
        raise OptionError(f"target {target!r} is not valid: {str(err).strip().splitlines()[-1]}") from err
