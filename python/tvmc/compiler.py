"""``tvmc compile``: from a model file to a shared library."""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tvm
from tvm.ir.instrument import PassInstrument, PassPrintingInstrument, PassTimingInstrument
from tvm.support import cc

from tvm_eqsat.cost.threads import available_cores, use_threads
from tvm_eqsat.lowering import lowering
from tvm_eqsat.options import EqSatOptions

from . import frontends, pipeline
from .arguments import add_common_arguments, add_model_arguments, comma_separated
from .eqsat import add_eqsat_arguments, eqsat_options, optimise
from .errors import TVMCException, explained
from .files import replacing, write_text
from .inputs import signature
from .isolated import isolated
from .legacy import refuse_legacy_flags
from .model import TVMCModel
from .package import TVMCPackage, check_whole, embed_metadata, library_name, pack
from .pass_config import pass_context
from .records import open_database
from .target import add_target_arguments, as_target, is_generic, num_cores, runs_here, target_from_cli, target_options

logger = logging.getLogger("TVMC")

DUMPS = ("relax", "tir", "ll", "asm")


def add_compile_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("compile", help="compile a model.", allow_abbrev=False)
    parser.set_defaults(func=drive_compile)
    add_common_arguments(parser)
    add_model_arguments(parser)
    parser.add_argument(
        "-o",
        "--output",
        default="module.so",
        help="where to write the compiled module: a shared library, or a .tar with one. Defaults to 'module.so'",
    )
    parser.add_argument("-f", "--output-format", help="so or tar; by default what the output's suffix says")
    parser.add_argument(
        "--tuning-records", metavar="DIR", help="directory of tuning records (a MetaSchedule database) from tvmc tune"
    )
    parser.add_argument(
        "--weight-prepack",
        action="store_true",
        help="store weights in the layouts that tuned kernels chose, for records of tvmc tune --weight-prepack",
    )
    parser.add_argument(
        "-O",
        "--opt-level",
        default=3,
        type=int,
        choices=range(4),
        metavar="[0-3]",
        help="specify which optimization level to use. Defaults to '3'",
    )
    parser.add_argument(
        "--pass-config",
        action="append",
        default=[],
        metavar="name=value",
        help="configuration of TVM's passes, e.g. 'tirx.disable_vectorize=1'. Can be given several times",
    )
    parser.add_argument(
        "--disabled-pass", type=comma_separated, default=[], help="names of passes to leave out, comma-separated"
    )
    parser.add_argument("--module-name", default="main", help="name of the entry function. Defaults to 'main'")
    parser.add_argument("--cross-compiler", help="the cross compiler to link with, e.g. 'aarch64-linux-gnu-gcc'")
    parser.add_argument("--cross-compiler-options", help="options of the cross compiler, e.g. '-mfpu=neon-vfpv4'")
    parser.add_argument(
        "--dump-code",
        type=comma_separated,
        default=[],
        metavar="FORMAT",
        help=f"formats in which to write the code next to the output, comma-separated: {', '.join(DUMPS)}",
    )
    parser.add_argument("--print-pass-times", action="store_true", help="print compilation time per pass")
    for when in ("before", "after"):
        parser.add_argument(
            f"--print-ir-{when}",
            type=comma_separated,
            default=[],
            metavar="PASS",
            help=f"print the module {when} each of these passes, comma-separated",
        )
    add_target_arguments(parser)
    add_eqsat_arguments(parser)
    refuse_legacy_flags(parser, "compile")


def drive_compile(args: argparse.Namespace) -> dict[str, Any]:
    """Compile as the command line says; return what there is to tell."""
    started = time.perf_counter()
    output = Path(args.output)
    if args.output_format not in (None, library_name(output)):
        raise TVMCException(
            f"--output-format {args.output_format} "
            + (
                "(Model Library Format) went with microTVM; use 'so' or 'tar'"
                if args.output_format == "mlf"
                else f"doesn't go with the output's name, '{output}'"
            )
        )
    options = eqsat_options(args)
    target = target_from_cli(args.target, target_options(args))
    model = frontends.load_model(args.FILE, args.model_format, args.input_shapes)
    package = compile_model(
        model,
        target,
        opt_level=args.opt_level,
        tuning_records=args.tuning_records,
        weight_prepack=args.weight_prepack,
        package_path=output,
        cross=args.cross_compiler,
        cross_options=args.cross_compiler_options,
        dump_code=args.dump_code,
        disabled_pass=args.disabled_pass,
        pass_context_configs=args.pass_config,
        mod_name=args.module_name,
        print_pass_times=args.print_pass_times,
        print_ir_before=args.print_ir_before,
        print_ir_after=args.print_ir_after,
        eqsat=options,
        eqsat_report=args.eqsat_report,
    )
    return {"output": str(output), "seconds": round(time.perf_counter() - started, 3), **package.metadata}


def compile_model(
    tvmc_model: TVMCModel,
    target: str | tvm.target.Target | None = None,
    *,
    opt_level: int = 3,
    tuning_records: str | Path | None = None,
    weight_prepack: bool = False,
    package_path: str | Path = "module.so",
    cross: str | None = None,
    cross_options: str | None = None,
    dump_code: Sequence[str] = (),
    disabled_pass: Sequence[str] = (),
    pass_context_configs: Sequence[str] = (),
    mod_name: str = "main",
    print_pass_times: bool = False,
    print_ir_before: Sequence[str] = (),
    print_ir_after: Sequence[str] = (),
    instruments: Sequence[PassInstrument] = (),
    eqsat: EqSatOptions | None = None,
    eqsat_report: str | Path | None = None,
) -> TVMCPackage:
    """Compile a model and write it to ``package_path``; the arguments are those of the command line.

    Returns
    -------
    TVMCPackage
        The compiled model.

    Raises
    ------
    EqSatError
        Something about the arguments or the model is wrong. Nothing is written then.
    """
    tvm_target = as_target(target)
    if unknown := [kind for kind in dump_code if kind not in DUMPS]:
        raise TVMCException(f"--dump-code {unknown[0]} is not a format; choose from: {', '.join(DUMPS)}")
    if is_generic(tvm_target):
        logger.warning(
            "the target %s names no CPU: the code will use no vector instructions newer than the oldest such CPU's. "
            "For this machine use --target 'llvm -mcpu=native'",
            tvm_target.kind.name,
        )
    weight_prepack = weight_prepack or (eqsat is not None and eqsat.prepack)
    if weight_prepack:
        eqsat = None if eqsat is None else eqsat.with_(prepack=True)
        if tuning_records is None:
            raise TVMCException("--weight-prepack needs --tuning-records: tuned kernels choose the layouts")
        pipeline.check_prepack(tvmc_model.mod, tvm_target)
    use_threads(min(num_cores(tvm_target), available_cores()))
    database = open_database(tuning_records, tvm_target) if tuning_records else None
    timing = PassTimingInstrument()
    active = list(instruments) + [timing] * print_pass_times
    if print_ir_before or print_ir_after:
        active.append(PassPrintingInstrument(list(print_ir_before), list(print_ir_after)))

    path = Path(package_path)
    kind = library_name(path)
    report = None
    dumps: dict[str, str] = {}
    metadata = _describe(tvmc_model, tvm_target, mod_name)

    def on_kernels(mod: tvm.IRModule) -> tvm.IRModule:
        kernels = pipeline.kernels(mod)
        metadata["kernels"] = len(kernels)
        metadata["tuned_kernels"] = sum(map(pipeline.is_tuned, kernels.values()))
        return embed_metadata(mod, metadata)

    def on_lowered(mod: tvm.IRModule) -> tvm.IRModule:
        if "tir" in dump_code:
            dumps["tir"] = mod.script()
        return mod

    with replacing(path) as scratch:
        context = pass_context(opt_level, pass_context_configs, disabled_pass, active)
        with explained(f"compiling '{tvmc_model.name}'"), context:
            mod = tvmc_model.mod
            if eqsat is not None:
                mod, report = optimise(mod, tvm_target, eqsat, database=tuning_records)
                metadata["eqsat"] = {"summary": report.summary(), "options": asdict(eqsat)}
            if "relax" in dump_code:
                dumps["relax"] = mod.script()
            stages = lowering(
                tvm_target, database, prepack=weight_prepack, on_kernels=on_kernels, on_lowered=on_lowered
            )
            executable = tvm.compile(_renamed(mod, mod_name), tvm_target, relax_pipeline=stages)
            if print_pass_times:
                print(f"Compilation time breakdown by pass:\n{timing.render()}")
        here = cross is not None or runs_here(tvm_target)
        linking = "linking the shared library" + ("" if here else ", without a --cross-compiler,")
        with explained(linking), tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "mod.so" if kind == "tar" else scratch
            fcompile = cc.cross_compiler(cross, options=(cross_options or "").split()) if cross else None
            isolated(lambda: executable.export_library(str(library), fcompile=fcompile))
            check_whole(library)
            if kind == "tar":
                pack(scratch, library, metadata)
        for format_ in dump_code:
            write_text(f"{path}.{format_}", dumps.get(format_) or _source(executable, format_))
        if report is not None and eqsat_report is not None:
            write_text(eqsat_report, report.to_json())
    if report is not None:
        print(report.summary())
    _tell_tuned(metadata, tuning_records)
    return TVMCPackage(path, metadata)


def _describe(model: TVMCModel, target: tvm.target.Target, entry: str) -> dict[str, Any]:
    inputs, outputs = signature(model.mod["main"], model.input_names)
    return {
        "tvm": tvm.__version__,
        "model": model.name,
        "target": str(target),
        "num_cores": num_cores(target),
        "entry": entry,
        "inputs": [spec.to_json() for spec in inputs],
        "outputs": [spec.to_json() for spec in outputs],
    }


def _renamed(mod: tvm.IRModule, entry: str) -> tvm.IRModule:
    if entry == "main":
        return mod
    functions = dict(mod.functions)
    main = functions.pop(mod.get_global_var("main"))
    functions[tvm.ir.GlobalVar(entry)] = main.with_attr("global_symbol", entry)
    return tvm.IRModule(functions, attrs=mod.attrs)


def _source(executable: Any, format_: str) -> str:
    modules = executable.mod._collect_from_import_tree(lambda module: module.kind == "llvm")
    return "\n".join(module.inspect_source(format_) for module in modules)


def _tell_tuned(metadata: Mapping[str, Any], tuning_records: str | Path | None) -> None:
    tuned, all_ = metadata["tuned_kernels"], metadata["kernels"]
    if tuning_records is None:
        return
    if tuned:
        logger.info("%d of %d kernels are tuned", tuned, all_)
    else:
        logger.warning(
            "none of the %d kernels is in '%s': were the records tuned for the same model, shapes, target and "
            "EqSat options?",
            all_,
            tuning_records,
        )
