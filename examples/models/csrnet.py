"""The back-end of CSRNet (Li et al., CVPR 2018), which estimates crowd density, with random weights."""

from __future__ import annotations

from onnx import ModelProto

from .convnet import ConvNet, Map


def csrnet(image: int = 14, *, width: float = 1.0, channels: int = 512, batch: int = 1, seed: int = 0) -> ModelProto:
    """Six dilated convolutions on the features that VGG-16 finds, at the shape on which PET reports (OSDI 2021).

    Parameters
    ----------
    image : int
        Height and width of the features.
    width : float
        Multiplier of all channels but those of the features.
    channels : int
        Channels of the features.
    batch : int
        Number of images.
    seed : int
        Seed of the weights; equal seeds give equal models.

    Returns
    -------
    onnx.ModelProto
        Opset 17. Input: ``features`` float32 [batch, channels, image, image]. Output: ``density`` float32 [batch,
        1, image, image].
    """
    g = ConvNet(seed, batch)
    x = Map(g.input("features", [batch, channels, image, image]), channels, image, image)
    for index, outer in enumerate((512, 512, 512, 256, 128, 64)):
        name = f"backend.{index}"
        x = g.relu(g.conv(x, max(1, round(outer * width)), 3, dilation=2, name=name), name=f"{name}.relu")
    density = g.conv(x, 1, 1, name="output_layer")
    g.output("density", density.name, [batch, 1, image, image])
    return g.model("csrnet")
