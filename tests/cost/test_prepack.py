"""Which kernels may choose their weights' layouts."""

from __future__ import annotations

from tvm.relax.frontend.onnx import from_onnx
from tvm.target import Target

from examples.models.convnet import ConvNet, Map
from tvm_eqsat.cost.lower import kernels


def test_weights_that_are_read_backwards_stay_as_they_are() -> None:
    """TVM's rewriting of their layouts makes kernels compute something else."""
    g = ConvNet(0)
    x = Map(g.input("features", [1, 8, 6, 6]), 8, 6, 6)
    x = g.conv_transpose(g.conv(x, 8, 3, name="plain"), 4, 4, stride=2, pad=1, name="transposed")
    g.output("y", x.name, [1, 4, x.height, x.width])
    found = kernels(from_onnx(g.model("network")), Target({"kind": "llvm", "num-cores": 1}), prepack=True)
    marked = {"transpose" in k.name: "layout_free_buffers" in k.mod["main"].attrs for k in found if k.mod is not None}
    assert marked == {False: True, True: False}
