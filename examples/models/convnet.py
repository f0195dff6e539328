"""Layers of convolutional networks, with random weights at which activations neither vanish nor explode.

Every feature map carries an estimate of its mean square. The weights of a convolution undo the scale of its operand,
which is He's initialisation (He et al., ICCV 2015) after a ReLU, and the running variance of a batch normalisation is
about the estimate, as it would be after training. The estimates are those of roughly normal values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

from .onnx_graph import Graph

Pair = int | tuple[int, int]


@dataclass(frozen=True)
class Map:
    """A tensor of shape [batch, channels, height, width].

    Attributes
    ----------
    name : str
        Its name in the graph.
    channels, height, width : int
        Its shape.
    square : float
        Estimated mean square of its values.
    """

    name: str
    channels: int
    height: int
    width: int
    square: float = 1.0


class ConvNet(Graph):
    """A graph of feature maps.

    ``pad`` is the same on both sides of an axis, and half the (dilated) kernel unless told: the shape then changes by
    the stride alone.

    Parameters
    ----------
    seed : int
        Seed of the weights.
    batch : int
        Number of images.
    """

    def __init__(self, seed: int, batch: int = 1) -> None:
        super().__init__(seed)
        self.batch = batch

    def image(self, size: int) -> Map:
        """Add the input ``image``, float32 [batch, 3, size, size]."""
        return Map(self.input("image", [self.batch, 3, size, size]), 3, size, size)

    def conv(
        self,
        x: Map,
        channels: int,
        kernel: Pair,
        *,
        name: str,
        stride: int = 1,
        pad: Pair | None = None,
        dilation: int = 1,
        groups: int = 1,
    ) -> Map:
        """Convolution without bias."""
        window = _Window.of(kernel, stride, pad, dilation)
        height, width = window.size(x, name)
        fan_in = x.channels // groups * window.kernel[0] * window.kernel[1]
        weight = self.normal(
            f"{name}.weight",
            (channels, x.channels // groups, *window.kernel),
            1 / sqrt(fan_in * x.square * window.inside(x)),
        )
        out = self.op(
            "Conv", x.name, weight, name=name, dilations=[dilation] * 2, group=groups, kernel_shape=window.kernel,
            pads=window.pads, strides=window.strides,
        )  # fmt: skip
        return Map(out, channels, height, width)

    def conv_transpose(
        self, x: Map, channels: int, kernel: int, *, name: str, stride: int = 1, pad: int = 0, output_pad: int = 0
    ) -> Map:
        """Transposed convolution without bias; ``output_pad`` is added below and on the right."""
        height, width = ((n - 1) * stride - 2 * pad + kernel + output_pad for n in (x.height, x.width))
        # Away from the edges, each result is a sum over (kernel / stride)² pixels; one pixel gives one term.
        taps = min(x.height * x.width, max(1.0, (kernel / stride) ** 2))
        std = 1 / sqrt(x.channels * taps * x.square)
        weight = self.normal(f"{name}.weight", (x.channels, channels, kernel, kernel), std)
        out = self.op(
            "ConvTranspose", x.name, weight, name=name, dilations=[1, 1], group=1, kernel_shape=[kernel] * 2,
            output_padding=[output_pad] * 2, pads=[pad] * 4, strides=[stride] * 2,
        )  # fmt: skip
        return Map(out, channels, height, width)

    def batch_norm(self, x: Map, *, name: str, epsilon: float = 1e-5) -> Map:
        """Batch normalisation with the statistics of training."""
        shape = (x.channels,)
        scale = self.positive(f"{name}.weight", shape, 1.0)
        bias = self.normal(f"{name}.bias", shape, 0.1)
        mean = self.normal(f"{name}.running_mean", shape, 0.1 * sqrt(x.square))
        variance = self.positive(f"{name}.running_var", shape, x.square)
        operands = (x.name, scale, bias, mean, variance)
        out = self.op("BatchNormalization", *operands, name=name, epsilon=epsilon, momentum=0.9)
        return replace(x, name=out, square=1.2)  # E[scale²] E[1 / variance] is 1.19

    def relu(self, x: Map, *, name: str, keeps: float = 0.5) -> Map:
        """ReLU; ``keeps`` is the part of the mean square that is left, half for values around zero."""
        return replace(x, name=self.op("Relu", x.name, name=name), square=keeps * x.square)

    def relu6(self, x: Map, *, name: str) -> Map:
        """``min(max(x, 0), 6)``, which is a ``Clip``."""
        out = self.op("Clip", x.name, self.constant(0.0), self.constant(6.0), name=name)
        return replace(x, name=out, square=0.5 * x.square)

    def max_pool(self, x: Map, kernel: int, *, name: str, stride: int = 1, pad: int | None = None) -> Map:
        """Maximum of every window."""
        window = _Window.of(kernel, stride, pad)
        out = self.op(
            "MaxPool", x.name, name=name, ceil_mode=0, dilations=[1, 1], kernel_shape=window.kernel, pads=window.pads,
            strides=window.strides,
        )  # fmt: skip
        return Map(out, x.channels, *window.size(x, name), 3.0 * x.square)

    def average_pool(self, x: Map, kernel: int, *, name: str, stride: int = 1, count_padding: bool = True) -> Map:
        """Mean of every window; ``count_padding`` says whether zeros around the map are counted, as PyTorch does."""
        window = _Window.of(kernel, stride, None)
        out = self.op(
            "AveragePool", x.name, name=name, ceil_mode=0, count_include_pad=int(count_padding),
            kernel_shape=window.kernel, pads=window.pads, strides=window.strides,
        )  # fmt: skip
        return Map(out, x.channels, *window.size(x, name), 0.5 * x.square)

    def add(self, left: Map, right: Map, *, name: str) -> Map:
        """Sum of two maps of one shape."""
        return replace(left, name=self.op("Add", left.name, right.name, name=name), square=left.square + right.square)

    def concat(self, maps: Sequence[Map], *, name: str) -> Map:
        """Concatenation along the channels."""
        channels = sum(m.channels for m in maps)
        square = sum(m.channels * m.square for m in maps) / channels
        out = self.op("Concat", *(m.name for m in maps), name=name, axis=1)
        return replace(maps[0], name=out, channels=channels, square=square)

    def classify(self, x: Map, classes: int, *, name: str) -> None:
        """Global average pooling and a dense layer; its result is the output ``logits``, float32 [batch, classes]."""
        pooled = self.op("Flatten", self.op("GlobalAveragePool", x.name, name="avgpool"), name="flatten", axis=1)
        weight = self.normal(f"{name}.weight", (classes, x.channels), 1 / sqrt(x.channels * 0.4 * x.square))
        bias = self.normal(f"{name}.bias", (classes,), 0.1)
        logits = self.op("Gemm", pooled, weight, bias, name=name, alpha=1.0, beta=1.0, transB=1)
        self.output("logits", logits, [self.batch, classes])


@dataclass(frozen=True)
class _Window:
    """Where a convolution or pooling looks: sizes along height and width."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pad: tuple[int, int]
    dilation: int

    @staticmethod
    def of(kernel: Pair, stride: int, pad: Pair | None, dilation: int = 1) -> _Window:
        high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
        if pad is None:
            pad = (high // 2 * dilation, wide // 2 * dilation)
        return _Window((high, wide), (stride, stride), (pad, pad) if isinstance(pad, int) else pad, dilation)

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """Both paddings before, then both after, as ONNX has them."""
        return self.pad * 2

    def size(self, x: Map, name: str) -> tuple[int, int]:
        """Height and width of the result."""
        height, width = (
            (n + 2 * p - self.dilation * (k - 1) - 1) // s + 1
            for n, k, s, p in zip((x.height, x.width), self.kernel, self.strides, self.pad, strict=True)
        )
        if height < 1 or width < 1:
            raise ValueError(f"the image is too small: {x.height} × {x.width} is left of it at {name}")
        return height, width

    def inside(self, x: Map) -> float:
        """Part of all (window, tap) pairs that aren't in the padding, at stride 1."""
        part = 1.0
        for n, k, p in zip((x.height, x.width), self.kernel, self.pad, strict=True):
            windows = n + 2 * p - self.dilation * (k - 1)
            taps = sum(0 <= start + tap * self.dilation - p < n for start in range(windows) for tap in range(k))
            part *= taps / (windows * k)
        return part
