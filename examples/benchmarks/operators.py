"""Single operators of real networks: TVM as imported, TVM's own passes by hand, EqSatOptimize, and onnxruntime.

Each operator is an ONNX model of its own with one node, imported as users import models, and compared as
:mod:`.end_to_end` compares models: equal trials, measured in turns, outputs checked against onnxruntime's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

from onnx import ModelProto

from examples.arguments import matching, some_of
from examples.benchmarks.end_to_end.__main__ import finish, run
from examples.benchmarks.end_to_end.by_hand import CONFIGURATIONS
from examples.benchmarks.end_to_end.comparison import Settings, say
from examples.benchmarks.end_to_end.report import show
from examples.logs import show_logs
from examples.models.onnx_graph import Graph
from tvm_eqsat.cost.store import this_host
from tvm_eqsat.cost.threads import available_cores, use_threads


@dataclass(frozen=True)
class Conv:
    """A convolution with bias, NCHW, a batch of one.

    Attributes
    ----------
    channels, filters : int
        Of the input, and of the result.
    size : int
        Height and width of the input.
    kernel : tuple of int
        Height and width.
    stride, dilation, groups : int
        As ONNX has them.
    padding : tuple of int
        Before and after rows, and columns; half of the kernel's reach if not given.
    """

    channels: int
    filters: int
    size: int
    kernel: tuple[int, int] = (3, 3)
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    padding: tuple[int, int] | None = None

    def build(self, name: str, seed: int) -> ModelProto:
        """The ONNX model."""
        reach = [self.dilation * (k - 1) for k in self.kernel]
        pads = self.padding or (reach[0] // 2, reach[1] // 2)
        shape = self.filters, self.channels // self.groups, *self.kernel
        rows, columns = ((self.size + 2 * p - r - 1) // self.stride + 1 for p, r in zip(pads, reach, strict=True))
        graph = Graph(seed)
        x = graph.input("x", (1, self.channels, self.size, self.size))
        weight = graph.normal("weight", shape, 1 / sqrt(shape[1] * shape[2] * shape[3]))
        y = graph.op(
            "Conv", x, weight, graph.normal("bias", (self.filters,), 0.1), name=name,
            kernel_shape=self.kernel, strides=[self.stride] * 2, dilations=[self.dilation] * 2, group=self.groups,
            pads=[*pads, *pads],
        )  # fmt: skip
        graph.output("y", y, (1, self.filters, rows, columns))
        return graph.model(name)


@dataclass(frozen=True)
class Dense:
    """A matrix product with a weight.

    Attributes
    ----------
    rows, inner, columns : int
        ``(rows, inner) @ (inner, columns)``.
    """

    rows: int
    inner: int
    columns: int

    def build(self, name: str, seed: int) -> ModelProto:
        """The ONNX model."""
        graph = Graph(seed)
        x = graph.input("x", (self.rows, self.inner))
        graph.output("y", graph.matmul(x, self.inner, self.columns, name=name), (self.rows, self.columns))
        return graph.model(name)


@dataclass(frozen=True)
class Batched:
    """A product of two inputs, a matrix product for each head.

    Attributes
    ----------
    batch, rows, inner, columns : int
        ``(batch, rows, inner) @ (batch, inner, columns)``.
    """

    batch: int
    rows: int
    inner: int
    columns: int

    def build(self, name: str, seed: int) -> ModelProto:
        """The ONNX model."""
        graph = Graph(seed)
        x = graph.input("x", (self.batch, self.rows, self.inner))
        y = graph.input("w", (self.batch, self.inner, self.columns))
        graph.output("y", graph.op("MatMul", x, y, name=name), (self.batch, self.rows, self.columns))
        return graph.model(name)


OPERATORS: dict[str, Conv | Dense | Batched] = {
    # ResNet-50
    "resnet-7x7-s2": Conv(3, 64, 224, (7, 7), stride=2),
    "resnet-3x3-56": Conv(64, 64, 56),
    "resnet-3x3-14": Conv(256, 256, 14),
    "resnet-3x3-7": Conv(512, 512, 7),
    "resnet-3x3-s2": Conv(128, 128, 56, stride=2),
    "resnet-1x1-56": Conv(64, 256, 56, (1, 1)),
    "resnet-1x1-14": Conv(1024, 256, 14, (1, 1)),
    "resnet-1x1-7": Conv(512, 2048, 7, (1, 1)),
    "resnet-1x1-s2": Conv(256, 512, 56, (1, 1), stride=2),
    "resnet-fc": Dense(1, 2048, 1000),
    # MobileNet-v2
    "mobilenet-3x3-s2": Conv(3, 32, 224, stride=2),
    "mobilenet-dw-112-s2": Conv(96, 96, 112, stride=2, groups=96),
    "mobilenet-dw-56": Conv(144, 144, 56, groups=144),
    "mobilenet-dw-14": Conv(384, 384, 14, groups=384),
    "mobilenet-1x1-56": Conv(24, 144, 56, (1, 1)),
    "mobilenet-1x1-14": Conv(96, 576, 14, (1, 1)),
    # Inception-v3
    "inception-5x5-35": Conv(48, 64, 35, (5, 5)),
    "inception-3x3-s2": Conv(288, 384, 35, stride=2, padding=(0, 0)),
    "inception-1x7-17": Conv(128, 192, 17, (1, 7)),
    "inception-1x1-17": Conv(768, 192, 17, (1, 1)),
    # ResNeXt-50 and CSRNet
    "resnext-grouped-56": Conv(128, 128, 56, groups=32),
    "resnext-grouped-14": Conv(512, 512, 14, groups=32),
    "csrnet-dilated-14": Conv(512, 512, 14, dilation=2),
    "csrnet-dilated-28": Conv(256, 128, 28, dilation=2),
    # BERT-base, 128 tokens
    "bert-768-768": Dense(128, 768, 768),
    "bert-768-3072": Dense(128, 768, 3072),
    "bert-scores": Batched(12, 128, 64, 128),
    "bert-context": Batched(12, 128, 128, 64),
}
"""Operators by name."""


def build(name: str, *, seed: int = 0) -> ModelProto:
    """The ONNX model of an operator of :data:`OPERATORS`."""
    return OPERATORS[name].build(name, seed)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; the exit status is 1 if the output of some program is wrong, 130 if it was interrupted."""
    args = _arguments(argv)
    show_logs()
    settings = Settings(
        trials=args.trials,
        threads=use_threads(args.threads),
        equal="trials",
        by_hand=tuple(args.by_hand),
        prepack=True,
        preset=args.preset,
        rounds=args.rounds,
        seed=args.seed,
        host=this_host(),
        others=(),
    )
    try:
        result = run(args.only, settings, args.database, build)
    except KeyboardInterrupt:
        say(f"interrupted; the same command goes on with what is in {args.database}")
        return 130
    show(result)
    return finish(result, args.json)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.benchmarks.operators", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--trials", type=int, default=16, help="trials of everybody who tunes an operator; default: 16")
    add("--only", type=matching(OPERATORS), default=list(OPERATORS), metavar="NAME,...", help=", ".join(OPERATORS))
    add(
        "--by-hand",
        type=some_of(CONFIGURATIONS),
        default=list(CONFIGURATIONS),
        metavar="A,B",
        help=f"configurations of TVM's own passes; each costs as many trials. Default: {','.join(CONFIGURATIONS)}",
    )
    add("--preset", default="default", help="options of EqSatOptimize")
    add("--rounds", type=int, default=7, help="turns of each program when measuring; default: 7")
    add("--threads", type=int, default=available_cores(), help="default: all cores")
    add("--seed", type=int, default=0, help="of weights, inputs and tuning; default: 0")
    add(
        "--database",
        type=Path,
        default=Path("operators"),
        metavar="DIR",
        help="where records and finished results are kept, and found again; default: operators",
    )
    add("--json", type=Path, metavar="FILE", help="write all figures here")
    args = parser.parse_args(argv)
    if min(args.trials, args.threads, args.rounds) < 1:
        parser.error("--trials, --threads and --rounds must be 1 or more")
    return args


if __name__ == "__main__":
    sys.exit(main())
