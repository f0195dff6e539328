"""NasNet-A (Zoph et al., CVPR 2018) as TENSAT's ``src/nasneta.rs`` has it, with random weights.

TENSAT (Yang et al., MLSys 2021) takes the cells of the paper, but leaves out batch normalisation, the ReLU before
every separable convolution, the second application of those, and the classifier.
"""

from __future__ import annotations

from onnx import ModelProto

from .convnet import ConvNet, Map


def nasneta(stages: int = 3, cells: int = 5, channels: int = 128, image: int = 224, *, seed: int = 0) -> ModelProto:
    """Stages of normal cells, each with a reduction cell at its end.

    Parameters
    ----------
    stages, cells : int
        Number of stages, and of normal cells in each.
    channels : int
        Channels inside the cells of the first stage; every reduction cell doubles them.
    image : int
        Height and width of the input.
    seed : int
        Seed of the weights; equal seeds give equal models.

    Returns
    -------
    onnx.ModelProto
        Opset 17. Input: ``image`` float32 [1, 3, image, image]. Output: ``features`` float32 [1, 5 × channels ×
        2**stages, size, size], 7 × 7 for an image of 224 × 224.

    Raises
    ------
    ValueError
        Nothing is left of the image.
    """
    g = _NasNet(seed)
    x = g.relu(g.conv(g.image(image), 64, 7, stride=2, name="stem"), name="stem")
    x = g.max_pool(x, 3, stride=2, name="stem.pool")
    for stage in range(stages):
        previous = current = x
        for cell in range(cells):
            previous, current = current, g.normal_cell(previous, current, channels, name=f"stage.{stage}.cell.{cell}")
        channels *= 2
        x = g.reduction_cell(previous, current, channels, name=f"stage.{stage}.reduction")
    g.output("features", x.name, [1, x.channels, x.height, x.width])
    return g.model("nasneta")


class _NasNet(ConvNet):
    """The two cells; each takes the results of both cells before it."""

    def squeeze(self, x: Map, channels: int, *, name: str) -> Map:
        """1 × 1 convolution and ReLU."""
        return self.relu(self.conv(x, channels, 1, name=name), name=name)

    def separable(self, x: Map, kernel: int, *, name: str, stride: int = 1) -> Map:
        """Depthwise and pointwise convolution."""
        depthwise = self.conv(x, x.channels, kernel, stride=stride, groups=x.channels, name=f"{name}.depthwise")
        return self.conv(depthwise, x.channels, 1, name=f"{name}.pointwise")

    def average(self, x: Map, *, name: str, stride: int = 1) -> Map:
        """Average pooling over 3 × 3, in which TASO doesn't count the padding."""
        return self.average_pool(x, 3, stride=stride, count_padding=False, name=name)

    def normal_cell(self, previous: Map, current: Map, channels: int, *, name: str) -> Map:
        """Five sums of two, concatenated; the image stays as large."""
        current = self.squeeze(current, channels, name=f"{name}.current")
        previous = self.squeeze(previous, channels, name=f"{name}.previous")
        pairs = [
            (self.separable(current, 3, name=f"{name}.0.left"), current),
            (
                self.separable(previous, 3, name=f"{name}.1.left"),
                self.separable(current, 3, name=f"{name}.1.right"),
            ),
            (self.average(current, name=f"{name}.2.left"), previous),
            (self.average(previous, name=f"{name}.3.left"), self.average(previous, name=f"{name}.3.right")),
            (
                self.separable(previous, 3, name=f"{name}.4.left"),
                self.separable(previous, 3, name=f"{name}.4.right"),
            ),
        ]
        sums = [self.add(left, right, name=f"{name}.{i}") for i, (left, right) in enumerate(pairs)]
        return self.concat(sums, name=name)

    def reduction_cell(self, previous: Map, current: Map, channels: int, *, name: str) -> Map:
        """Five sums of two, concatenated; the image is half as large."""
        current = self.squeeze(current, channels, name=f"{name}.current")
        previous = self.squeeze(previous, channels, name=f"{name}.previous")

        def separable(i: int, side: str, x: Map, kernel: int, stride: int = 2) -> Map:
            return self.separable(x, kernel, stride=stride, name=f"{name}.{i}.{side}")

        def add(i: int, left: Map, right: Map) -> Map:
            return self.add(left, right, name=f"{name}.{i}")

        def largest(i: int) -> Map:
            return self.max_pool(current, 3, stride=2, name=f"{name}.{i}.left")

        first = add(0, separable(0, "left", previous, 7), separable(0, "right", current, 5))
        second = add(1, largest(1), separable(1, "right", previous, 7))
        mean = self.average(current, stride=2, name=f"{name}.2.left")
        third = add(2, mean, separable(2, "right", previous, 5))
        fourth = add(3, largest(3), separable(3, "right", first, 3, stride=1))
        fifth = add(4, self.average(first, name=f"{name}.4.left"), second)
        return self.concat([first, second, third, fourth, fifth], name=name)
