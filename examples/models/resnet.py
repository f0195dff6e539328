"""ResNet (He et al., CVPR 2016) and ResNeXt (Xie et al., CVPR 2017) as torchvision has them, with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from onnx import ModelProto

from .convnet import ConvNet, Map


def resnet(
    blocks: Sequence[int] = (2, 2, 2, 2),
    *,
    bottleneck: bool = False,
    groups: int = 1,
    group_width: int = 64,
    channels: int = 64,
    image: int = 224,
    classes: int = 1000,
    batch: int = 1,
    seed: int = 0,
) -> ModelProto:
    """A residual network; that of 18 layers unless told otherwise.

    Parameters
    ----------
    blocks : sequence of int
        Number of residual blocks of every stage; each stage halves the image and doubles the channels.
    bottleneck : bool
        Whether a block is three convolutions, 1 × 1, 3 × 3 and 1 × 1, instead of two of 3 × 3.
    groups : int
        Groups of the 3 × 3 convolutions of bottlenecks: the cardinality of ResNeXt.
    group_width : int
        Channels of one group in the first stage, where the stem has 64.
    channels : int
        Channels of the stem.
    image, classes : int
        Height and width of the input, and length of the output.
    batch : int
        Number of images.
    seed : int
        Seed of the weights; equal seeds give equal models.

    Returns
    -------
    onnx.ModelProto
        Opset 17. Input: ``image`` float32 [batch, 3, image, image]. Output: ``logits`` float32 [batch, classes].

    Raises
    ------
    ValueError
        Nothing is left of the image, or of a group.
    """
    if channels * group_width % 64:
        raise ValueError(f"channels × group_width must be a multiple of 64, but {channels} × {group_width} isn't")
    g = ConvNet(seed, batch)
    x = _unit(g, g.image(image), channels, 7, stride=2, name="conv1", norm="bn1")
    x = g.max_pool(g.relu(x, name="relu"), 3, stride=2, name="maxpool")
    for stage, count in enumerate(blocks):
        width = channels << stage
        for index in range(count):
            name, stride = f"layer{stage + 1}.{index}", 2 if stage and not index else 1
            if bottleneck:
                inner = width * group_width // 64 * groups
                y = g.relu(_unit(g, x, inner, 1, name=f"{name}.conv1"), name=f"{name}.relu1")
                y = _unit(g, y, inner, 3, stride=stride, groups=groups, name=f"{name}.conv2")
                y = _unit(g, g.relu(y, name=f"{name}.relu2"), 4 * width, 1, name=f"{name}.conv3")
            else:
                y = g.relu(_unit(g, x, width, 3, stride=stride, name=f"{name}.conv1"), name=f"{name}.relu1")
                y = _unit(g, y, width, 3, name=f"{name}.conv2")
            if stride > 1 or x.channels != y.channels:
                path = f"{name}.downsample"
                x = _unit(g, x, y.channels, 1, stride=stride, name=f"{path}.0", norm=f"{path}.1")
            # The one operand is positive, or mostly: this ReLU takes less than half.
            x = g.relu(g.add(y, x, name=name), name=f"{name}.relu", keeps=0.75)
    g.classify(x, classes, name="fc")
    return g.model("resnet")


resnet18 = resnet
resnext50 = partial(resnet, blocks=(3, 4, 6, 3), bottleneck=True, groups=32, group_width=4)


def _unit(
    g: ConvNet,
    x: Map,
    channels: int,
    kernel: int,
    *,
    name: str,
    stride: int = 1,
    groups: int = 1,
    norm: str | None = None,
) -> Map:
    """Convolution and batch normalisation."""
    y = g.conv(x, channels, kernel, stride=stride, groups=groups, name=name)
    return g.batch_norm(y, name=norm or name.replace("conv", "bn"))
