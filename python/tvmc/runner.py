"""``tvmc run``: run a compiled model, here or on a remote device."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tvm
from tvm import relax, rpc

from tvm_eqsat.cost.threads import available_cores, use_threads

from .arguments import add_common_arguments, add_rpc_arguments, positive
from .errors import TVMCException, explained
from .inputs import FILL_MODES, TensorSpec, make_inputs
from .legacy import refuse_legacy_flags
from .package import TVMCPackage, read_metadata
from .profile import KernelTimes
from .result import TVMCResult
from .tracker import check_reachable, connect_tracker, tracker_host_port_from_cli

logger = logging.getLogger("TVMC")

DEVICES = ("cpu", "cuda", "cl", "metal", "vulkan", "rocm")
_SESSION_TIMEOUT_S = 1000


def add_run_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("run", help="run a compiled module", allow_abbrev=False)
    parser.set_defaults(func=drive_run)
    add_common_arguments(parser)
    parser.add_argument("PATH", help="path to the compiled module file")
    parser.add_argument("--device", default="cpu", help=f"device to run on: {', '.join(DEVICES)}. Defaults to 'cpu'")
    parser.add_argument(
        "--fill-mode",
        choices=FILL_MODES,
        default="random",
        help="fill all input tensors with values, where --inputs/-i doesn't provide them. Defaults to 'random', "
        "always the same numbers",
    )
    parser.add_argument("-i", "--inputs", help="path to the .npz input file")
    parser.add_argument("-o", "--outputs", help="path to the .npz output file")
    parser.add_argument("--print-time", action="store_true", help="record and print the execution time(s)")
    parser.add_argument(
        "--print-top", metavar="N", type=positive, help="print the top n values and indices of the first output"
    )
    parser.add_argument("--profile", action="store_true", help="print the time per kernel")
    parser.add_argument(
        "--end-to-end",
        action="store_true",
        help="measure data transfers as well as model execution: copying inputs in and outputs out",
    )
    parser.add_argument("--repeat", metavar="N", type=positive, default=1, help="measure n times. Defaults to '1'")
    parser.add_argument(
        "--number", metavar="N", type=positive, default=1, help="run the model n times per measurement. Defaults to '1'"
    )
    add_rpc_arguments(parser)
    refuse_legacy_flags(parser, "run")


def drive_run(args: argparse.Namespace) -> dict[str, Any]:
    """Run as the command line says; return what there is to tell."""
    if args.rpc_key and not args.rpc_tracker:
        raise TVMCException("--rpc-key needs --rpc-tracker")
    hostname, port = tracker_host_port_from_cli(args.rpc_tracker) if args.rpc_tracker else (None, 0)
    package = TVMCPackage(args.PATH)
    result = run_module(
        package,
        args.device,
        hostname=hostname,
        port=port,
        rpc_key=args.rpc_key,
        inputs=_load_inputs(args.inputs) if args.inputs else None,
        fill_mode=args.fill_mode,
        repeat=args.repeat,
        number=args.number,
        profile=args.profile,
        end_to_end=args.end_to_end,
    )
    if args.print_time:
        print(result.format_times())
    if args.profile:
        print(result.profile)
    if args.print_top:
        print(result.top(args.print_top))
    if args.outputs:
        result.save(args.outputs)
    return {
        "path": args.PATH,
        "times_ms": [round(seconds * 1e3, 6) for seconds in result.times],
        "threads": result.threads,
        "statistics_ms": {name: round(value, 6) for name, value in result.statistics().items()},
        "outputs": {
            name: {"shape": list(value.shape), "dtype": value.dtype.name} for name, value in result.outputs.items()
        },
        **({"top": result.top(args.print_top).tolist()} if args.print_top else {}),
    }


def _load_inputs(path: str) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, AttributeError, TypeError) as err:  # a single array is neither a file nor an archive
        raise TVMCException(f"Error loading inputs file: {path} is not an .npz archive of tensors ({err})") from err


def run_module(
    tvmc_package: TVMCPackage,
    device: str = "cpu",
    *,
    hostname: str | None = None,
    port: int | str = 9090,
    rpc_key: str | None = None,
    inputs: Mapping[str, np.ndarray] | None = None,
    fill_mode: str = "random",
    repeat: int = 1,
    number: int = 1,
    profile: bool = False,
    end_to_end: bool = False,
) -> TVMCResult:
    """Run a compiled model once, then time it; the arguments are those of the command line.

    With a ``hostname`` it runs there: on a device of the RPC tracker that has the key ``rpc_key``, or without a key
    directly on an RPC server.

    Returns
    -------
    TVMCResult
        Outputs, and seconds per execution.

    Raises
    ------
    TVMCException
        The model can't be loaded, the device can't be reached, or an input is wrong.
    """
    if device not in DEVICES:
        raise TVMCException(f"device '{device}' is not supported; choose from: {', '.join(DEVICES)}")
    session = _connect(hostname, int(port), rpc_key) if hostname else None
    with explained(f"loading '{tvmc_package.path}'"):
        if session is None:
            library = tvm.runtime.load_module(str(tvmc_package.library))
            dev = tvm.runtime.device(device, 0)
        else:
            session.upload(str(tvmc_package.library))
            library = session.load_module(tvmc_package.library.name)
            dev = session.device(device, 0)
        if not dev.exist:
            raise TVMCException(f"there is no device '{device}', or TVM was built without it")
        machine = relax.VirtualMachine(library, dev)
    metadata = read_metadata(machine)
    threads = _set_threads(metadata, session)
    entry, specs = _interface(machine, metadata, inputs)
    tensors = list(make_inputs(specs, inputs or {}, fill_mode).values())

    with explained(f"running '{tvmc_package.path}'"):
        placed = [tvm.runtime.tensor(tensor, device=dev) for tensor in tensors]
        kernel_times = KernelTimes(dev)
        if profile:
            if session is not None:
                raise TVMCException("--profile works on local devices only")
            machine.set_instrument(kernel_times)
        machine.set_input(entry, *placed)
        machine.invoke_stateful(entry)
        outputs = _numpy(machine.get_outputs(entry))
        if profile:
            machine = relax.VirtualMachine(library, dev)
            machine.set_input(entry, *placed)
        if end_to_end:
            times = [_end_to_end(machine, entry, tensors, dev, number) for _ in range(repeat)]
        else:
            timer = machine.time_evaluator("invoke_stateful", dev, number=number, repeat=repeat)
            times = list(timer(entry).results)
    named = {f"output_{i}": value for i, value in enumerate(outputs)}
    return TVMCResult(named, times, kernel_times.table() if profile else "", threads)


def _connect(hostname: str, port: int, key: str | None) -> rpc.RPCSession:
    if key is not None:
        tracker = connect_tracker(hostname, port, key)
        with explained(f"waiting for a device '{key}' of {hostname}:{port}"):
            return tracker.request(key, session_timeout=_SESSION_TIMEOUT_S)
    check_reachable(hostname, port)
    with explained(f"connecting to {hostname}:{port}"):
        return rpc.connect(hostname, port)


def _set_threads(metadata: Mapping[str, Any] | None, session: rpc.RPCSession | None) -> int:
    """Run on as many threads as the target says, else on all cores; returns the number in force."""
    if session is None:
        return use_threads(available_cores() if metadata is None else int(metadata["num_cores"]))
    if metadata is not None:
        wanted = int(metadata["num_cores"])
        session.get_function("runtime.config_threadpool")(1, wanted)
    in_force = int(session.get_function("runtime.NumThreads")())
    if metadata is not None and in_force < wanted:
        logger.warning("the device runs on %d of the %d threads that the library was made for", in_force, wanted)
    return in_force


def _interface(
    machine: relax.VirtualMachine, metadata: Mapping[str, Any] | None, inputs: Mapping[str, np.ndarray] | None
) -> tuple[str, list[TensorSpec]]:
    """The entry function and its inputs, as the library tells them or, when it doesn't, as ``inputs`` has them."""
    if metadata is not None:
        return str(metadata["entry"]), [TensorSpec.from_json(spec) for spec in metadata["inputs"]]
    if not machine.module.implements_function("main"):
        raise TVMCException("the library has no function 'main' and wasn't made by tvmc compile")
    names = [str(machine._get_function_param_name("main", i)) for i in range(machine._get_function_arity("main"))]
    given = inputs or {}
    if missing := [name for name in names if name not in given]:
        raise TVMCException(
            f"the library wasn't made by tvmc compile and doesn't tell what its inputs {', '.join(names)} are; "
            f"give them all with --inputs (missing: {', '.join(missing)})"
        )
    return "main", [TensorSpec(name, given[name].shape, given[name].dtype.name) for name in names]


def _numpy(value: Any) -> list[np.ndarray]:
    """Every tensor of a nested tuple."""
    if isinstance(value, tvm.runtime.Tensor):
        return [value.numpy()]
    return [tensor for field in value for tensor in _numpy(field)]


def _end_to_end(
    machine: relax.VirtualMachine, entry: str, tensors: list[np.ndarray], dev: tvm.runtime.Device, number: int
) -> float:
    """Mean seconds of copying inputs to the device, running, and copying outputs back."""
    started = time.perf_counter()
    for _ in range(number):
        machine.set_input(entry, *[tvm.runtime.tensor(tensor, device=dev) for tensor in tensors])
        machine.invoke_stateful(entry)
        _numpy(machine.get_outputs(entry))
    return (time.perf_counter() - started) / number
