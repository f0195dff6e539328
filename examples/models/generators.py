"""Three generators of images, in which transposed convolutions do the work, with random weights.

EinNet reports on them (OSDI 2023): without normalisation, which would be folded into the weights anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto

from .convnet import ConvNet, Map


def dcgan(
    channels: Sequence[int] = (512, 256, 128, 64, 3), *, noise: int = 100, batch: int = 1, seed: int = 0
) -> ModelProto:
    """The generator of DCGAN (Radford et al., ICLR 2016), for images of 64 × 64.

    Parameters
    ----------
    channels : sequence of int
        Of the result of each transposed convolution; all after the first double height and width.
    noise : int
        Channels of the input.
    batch : int
        Number of images.
    seed : int
        Seed of the weights; equal seeds give equal models.

    Returns
    -------
    onnx.ModelProto
        Opset 17. Input: ``noise`` float32 [batch, noise, 1, 1]. Output: ``image`` float32 [batch, channels[-1], size,
        size], in (-1, 1).
    """
    return _generator("dcgan", 4, channels, noise, batch, seed)


def infogan(
    channels: Sequence[int] = (448, 256, 128, 64, 3), *, noise: int = 228, batch: int = 1, seed: int = 0
) -> ModelProto:
    """The generator of InfoGAN (Chen et al., NeurIPS 2016), for images of 32 × 32; parameters as of :func:`dcgan`."""
    return _generator("infogan", 2, channels, noise, batch, seed)


def _generator(name: str, first: int, channels: Sequence[int], noise: int, batch: int, seed: int) -> ModelProto:
    g = ConvNet(seed, batch)
    x = Map(g.input("noise", [batch, noise, 1, 1]), noise, 1, 1)
    for index, outer in enumerate(channels):
        path = f"main.{index}"
        if index == 0:
            x = g.conv_transpose(x, outer, first, name=path)
        else:
            x = g.conv_transpose(x, outer, 4, stride=2, pad=1, name=path)
        if index < len(channels) - 1:
            x = g.relu(x, name=f"{path}.relu")
    g.output("image", g.op("Tanh", x.name, name="tanh"), [batch, x.channels, x.height, x.width])
    return g.model(name)


def fsrcnn(
    image: int = 32, *, scale: int = 4, wide: int = 56, narrow: int = 12, layers: int = 4, batch: int = 1, seed: int = 0
) -> ModelProto:
    """FSRCNN (Dong et al., ECCV 2016), which enlarges one channel of an image; activations are plain ReLUs.

    Parameters
    ----------
    image : int
        Height and width of the input.
    scale : int
        How many times as high and wide the output is.
    wide, narrow, layers : int
        The paper's *d*, *s* and *m*: channels of the features, channels of the mapping, and its layers.
    batch : int
        Number of images.
    seed : int
        Seed of the weights; equal seeds give equal models.

    Returns
    -------
    onnx.ModelProto
        Opset 17. Input: ``image`` float32 [batch, 1, image, image]. Output: ``enlarged`` float32 [batch, 1, image *
        scale, image * scale].
    """
    g = ConvNet(seed, batch)
    x = Map(g.input("image", [batch, 1, image, image]), 1, image, image)
    x = g.relu(g.conv(x, wide, 5, name="extract"), name="extract.relu")
    x = g.relu(g.conv(x, narrow, 1, name="shrink"), name="shrink.relu")
    for index in range(layers):
        x = g.conv(x, narrow, 3, name=f"map.{index}")
    x = g.relu(x, name="map.relu")
    x = g.relu(g.conv(x, wide, 1, name="expand"), name="expand.relu")
    x = g.conv_transpose(x, 1, 9, stride=scale, pad=4, output_pad=scale - 1, name="enlarge")
    g.output("enlarged", x.name, [batch, 1, x.height, x.width])
    return g.model("fsrcnn")
