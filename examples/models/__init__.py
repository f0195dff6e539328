"""Models to try tvm-eqsat on: real graphs at their real size, with seeded random weights.

>>> from examples.models import build
>>> model = build("squeezenet")  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature

import numpy as np
from onnx import ModelProto, TensorProto, helper

from .bert import bert_base
from .bert_pet import bert_pet
from .csrnet import csrnet
from .generators import dcgan, fsrcnn, infogan
from .gpt2 import gpt2
from .inception import inception_v3
from .light import LIGHT, light
from .mobilenet import mobilenet_v2
from .nasnet import nasneta
from .resnet import resnet, resnet18, resnext50
from .tensat import bert_tensat, nasrnn

__all__ = [
    "BENCHMARK",
    "LIGHT",
    "MODELS",
    "bert_base",
    "bert_pet",
    "bert_tensat",
    "build",
    "csrnet",
    "dcgan",
    "fsrcnn",
    "gpt2",
    "inception_v3",
    "infogan",
    "light",
    "mobilenet_v2",
    "nasneta",
    "nasrnn",
    "random_inputs",
    "resnet",
    "resnet18",
    "resnext50",
]

MODELS: dict[str, Callable[..., ModelProto]] = {
    **{name: partial(light, name) for name in LIGHT},
    "bert_base": bert_base,
    "bert_small": partial(bert_base, layers=2, hidden=128, heads=4, seq=32, ffn=512),
    "bert_pet": bert_pet,
    "bert_tensat": bert_tensat,
    "csrnet": csrnet,
    "dcgan": dcgan,
    "fsrcnn": fsrcnn,
    "gpt2": gpt2,
    "inception_v3": inception_v3,
    "inception_v3_pet": partial(inception_v3, 330),
    "infogan": infogan,
    "mobilenet_v2": mobilenet_v2,
    "nasneta": nasneta,
    "nasrnn": nasrnn,
    "resnet18": resnet18,
    "resnext50": resnext50,
}
"""Builders by name; each takes ``seed``."""

BENCHMARK = (
    "bert_tensat",
    "inception_v3",
    "mobilenet_v2",
    "nasneta",
    "nasrnn",
    "resnet18",
    "resnet50",
    "resnext50",
    "squeezenet",
    "vgg19",
)
"""The models on which TASO, TENSAT, PET and their successors report, at the shapes that they report."""


def build(name: str, *, seed: int = 0, batch: int = 1) -> ModelProto:
    """Build a model of :data:`MODELS`.

    Raises
    ------
    ValueError
        There is no model of that name, or it is only made for a batch of one.
    """
    if name not in MODELS:
        raise ValueError(f"no model is called {name!r}; there are {', '.join(MODELS)}")
    if batch == 1:
        return MODELS[name](seed=seed)
    if "batch" not in signature(MODELS[name]).parameters:
        raise ValueError(f"{name} is only made for a batch of 1, not {batch}")
    return MODELS[name](seed=seed, batch=batch)


def random_inputs(model: ModelProto, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Random values for every input of ``model``, of its shape and dtype.

    Parameters
    ----------
    model : onnx.ModelProto
        A model whose inputs have static shapes. Integer inputs are taken to be indices into the table that a
        ``Gather`` reads.
    seed : int
        Seed of the values.

    Returns
    -------
    dict of str to numpy.ndarray
        What ``onnxruntime.InferenceSession.run`` takes: standard normal floats, legal indices.
    """
    rng = np.random.default_rng(seed)
    rows = {t.name: t.dims[0] for t in model.graph.initializer if t.dims}
    tables = {n.input[1]: rows[n.input[0]] for n in model.graph.node if n.op_type == "Gather" and n.input[0] in rows}
    values: dict[str, np.ndarray] = {}
    for tensor in model.graph.input:
        kind = tensor.type.tensor_type
        shape = [d.dim_value for d in kind.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if kind.elem_type in (TensorProto.INT64, TensorProto.INT32):
            values[tensor.name] = rng.integers(tables.get(tensor.name, 2), size=shape, dtype=dtype)
        else:
            values[tensor.name] = rng.standard_normal(shape).astype(dtype)
    return values
