"""MobileNet-v2 (Sandler et al., CVPR 2018) as torchvision has it, with random weights."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto

from .convnet import ConvNet, Map

#: Table 2 of the paper: expansion, channels, number of blocks, and stride of the first.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(
    stages: Sequence[tuple[int, int, int, int]] = _STAGES,
    *,
    width: float = 1.0,
    image: int = 224,
    classes: int = 1000,
    relu6: bool = True,
    seed: int = 0,
) -> ModelProto:
    """The network of inverted residual blocks with linear bottlenecks.

    Parameters
    ----------
    stages : sequence of tuple of int
        Expansion, channels, number of blocks and stride of the first, of every stage.
    width : float
        Multiplier of all channels.
    image, classes : int
        Height and width of the input, and length of the output.
    relu6 : bool
        Whether activations are limited to 6, as published. The benchmarks of TASO's successors have a ReLU instead.
    seed : int
        Seed of the weights; equal seeds give equal models.

    Returns
    -------
    onnx.ModelProto
        Opset 17. Input: ``image`` float32 [1, 3, image, image]. Output: ``logits`` float32 [1, classes].

    Raises
    ------
    ValueError
        Nothing is left of the image.
    """
    g = ConvNet(seed)
    activation = g.relu6 if relu6 else g.relu

    def unit(x: Map, channels: int, kernel: int, *, name: str, stride: int = 1, groups: int = 1) -> Map:
        y = g.conv(x, channels, kernel, stride=stride, groups=groups, name=f"{name}.0")
        return activation(g.batch_norm(y, name=f"{name}.1"), name=f"{name}.2")

    x = unit(g.image(image), _eights(32 * width), 3, stride=2, name="features.0")
    index = 0
    for expansion, channels, count, first in stages:
        for stride in (first, *[1] * (count - 1)):
            index += 1
            name, y = f"features.{index}", x
            if expansion != 1:
                y = unit(y, expansion * x.channels, 1, name=f"{name}.expand")
            y = unit(y, y.channels, 3, stride=stride, groups=y.channels, name=f"{name}.depthwise")
            y = g.conv(y, _eights(channels * width), 1, name=f"{name}.project")
            y = g.batch_norm(y, name=f"{name}.project.norm")
            x = g.add(x, y, name=name) if stride == 1 and x.channels == y.channels else y
    x = unit(x, _eights(1280 * max(1.0, width)), 1, name=f"features.{index + 1}")
    g.classify(x, classes, name="classifier.1")
    return g.model("mobilenet_v2")


def _eights(channels: float) -> int:
    """The nearest multiple of 8, but not below nine tenths."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
