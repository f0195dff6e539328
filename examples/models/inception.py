"""Inception-v3 (Szegedy et al., CVPR 2016) as torchvision has it, with random weights."""

from __future__ import annotations

from onnx import ModelProto

from .convnet import ConvNet, Map, Pair


def inception_v3(
    image: int = 299, *, width: float = 1.0, classes: int = 1000, batch: int = 1, seed: int = 0
) -> ModelProto:
    """The network for inference, which doesn't have the auxiliary classifier of training.

    Parameters
    ----------
    image : int
        Height and width of the input, at least 75; PET (OSDI 2021) takes 330.
    width : float
        Multiplier of all channels.
    classes : int
        Length of the output.
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
        Nothing is left of the image.
    """
    g = _Inception(seed, batch, width)
    x = g.unit(g.image(image), 32, 3, stride=2, pad=0, name="Conv2d_1a_3x3")
    x = g.unit(x, 32, 3, pad=0, name="Conv2d_2a_3x3")
    x = g.unit(x, 64, 3, name="Conv2d_2b_3x3")
    x = g.max_pool(x, 3, stride=2, pad=0, name="maxpool1")
    x = g.unit(x, 80, 1, name="Conv2d_3b_1x1")
    x = g.unit(x, 192, 3, pad=0, name="Conv2d_4a_3x3")
    x = g.max_pool(x, 3, stride=2, pad=0, name="maxpool2")
    for letter, pooled in (("b", 32), ("c", 64), ("d", 64)):
        x = g.mixed_a(x, pooled, name=f"Mixed_5{letter}")
    x = g.mixed_b(x, name="Mixed_6a")
    for letter, inner in (("b", 128), ("c", 160), ("d", 160), ("e", 192)):
        x = g.mixed_c(x, inner, name=f"Mixed_6{letter}")
    x = g.mixed_d(x, name="Mixed_7a")
    for letter in "bc":
        x = g.mixed_e(x, name=f"Mixed_7{letter}")
    g.classify(x, classes, name="fc")
    return g.model("inception_v3")


class _Inception(ConvNet):
    """The modules of the network, by the letters that torchvision gives them."""

    def __init__(self, seed: int, batch: int, width: float) -> None:
        super().__init__(seed, batch)
        self.width = width

    def unit(self, x: Map, channels: int, kernel: Pair, *, name: str, stride: int = 1, pad: Pair | None = None) -> Map:
        """Convolution, batch normalisation and ReLU."""
        y = self.conv(x, max(1, round(channels * self.width)), kernel, stride=stride, pad=pad, name=f"{name}.conv")
        return self.relu(self.batch_norm(y, name=f"{name}.bn", epsilon=1e-3), name=name)

    def chain(self, x: Map, *steps: tuple[int, Pair], name: str, last_stride: int = 1) -> Map:
        """Units one after the other, of these channels and kernels; a stride comes without padding."""
        for i, (channels, kernel) in enumerate(steps, 1):
            stride, path = last_stride if i == len(steps) else 1, name if len(steps) == 1 else f"{name}_{i}"
            x = self.unit(x, channels, kernel, stride=stride, pad=0 if stride > 1 else None, name=path)
        return x

    def pooled(self, x: Map, channels: int, *, name: str) -> Map:
        """Average pooling and a unit of 1 × 1."""
        return self.unit(self.average_pool(x, 3, name=name), channels, 1, name=f"{name}.branch_pool")

    def mixed_a(self, x: Map, pooled: int, *, name: str) -> Map:
        """Windows up to 5 × 5 (figure 5 of the paper)."""
        branches = [
            self.chain(x, (64, 1), name=f"{name}.branch1x1"),
            self.chain(x, (48, 1), (64, 5), name=f"{name}.branch5x5"),
            self.chain(x, (64, 1), (96, 3), (96, 3), name=f"{name}.branch3x3dbl"),
            self.pooled(x, pooled, name=name),
        ]
        return self.concat(branches, name=name)

    def mixed_b(self, x: Map, *, name: str) -> Map:
        """Halves the image (figure 10)."""
        branches = [
            self.chain(x, (384, 3), name=f"{name}.branch3x3", last_stride=2),
            self.chain(x, (64, 1), (96, 3), (96, 3), name=f"{name}.branch3x3dbl", last_stride=2),
            self.max_pool(x, 3, stride=2, pad=0, name=name),
        ]
        return self.concat(branches, name=name)

    def mixed_c(self, x: Map, inner: int, *, name: str) -> Map:
        """Windows of 7 × 7, each as a row and a column (figure 6)."""
        row, column = (1, 7), (7, 1)
        double = ((inner, 1), (inner, column), (inner, row), (inner, column), (192, row))
        branches = [
            self.chain(x, (192, 1), name=f"{name}.branch1x1"),
            self.chain(x, (inner, 1), (inner, row), (192, column), name=f"{name}.branch7x7"),
            self.chain(x, *double, name=f"{name}.branch7x7dbl"),
            self.pooled(x, 192, name=name),
        ]
        return self.concat(branches, name=name)

    def mixed_d(self, x: Map, *, name: str) -> Map:
        """Halves the image again."""
        row, column = (1, 7), (7, 1)
        steps = ((192, 1), (192, row), (192, column), (192, 3))
        branches = [
            self.chain(x, (192, 1), (320, 3), name=f"{name}.branch3x3", last_stride=2),
            self.chain(x, *steps, name=f"{name}.branch7x7x3", last_stride=2),
            self.max_pool(x, 3, stride=2, pad=0, name=name),
        ]
        return self.concat(branches, name=name)

    def mixed_e(self, x: Map, *, name: str) -> Map:
        """A row and a column side by side (figure 7)."""
        branches = [
            self.chain(x, (320, 1), name=f"{name}.branch1x1"),
            self.fork(self.chain(x, (384, 1), name=f"{name}.branch3x3_1"), name=f"{name}.branch3x3_2"),
            self.fork(self.chain(x, (448, 1), (384, 3), name=f"{name}.branch3x3dbl"), name=f"{name}.branch3x3dbl_3"),
            self.pooled(x, 192, name=name),
        ]
        return self.concat(branches, name=name)

    def fork(self, x: Map, *, name: str) -> Map:
        """A row and a column of the same map."""
        sides = (self.unit(x, 384, kernel, name=f"{name}{side}") for side, kernel in (("a", (1, 3)), ("b", (3, 1))))
        return self.concat(list(sides), name=name)
