"""What the rules of TENSAT (Yang et al., MLSys'21) and TASO express, ours prove: both sides end in one e-class.

Each test is one idea, with other strides, paddings, groups, axes or ranks than theirs where ours are more general.
TENSAT's operators with a built-in activation have no counterpart here: TVM fuses activations after the rewriting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from tvm_eqsat.egraph.egraph import EGraph
from tvm_eqsat.graph.types import TensorType
from tvm_eqsat.rules import ALGEBRA, ALL, RuleSet, op
from tvm_eqsat.rules.analysis import TensorAnalysis
from tvm_eqsat.rules.dsl import Builder, Term
from tvm_eqsat.search.saturate import Limits, saturate

EVERY = ALL + ALGEBRA
LIMITS = Limits(nodes=8000, iterations=12, seconds=30)


class Program:
    """A few terms in one e-graph."""

    def __init__(self) -> None:
        self.egraph = EGraph(TensorAnalysis())
        self.builder = Builder(self.egraph)
        self.count = 0

    def __call__(self, *shape: int, weight: bool = False) -> Term:
        kind = TensorType(shape, "float32")
        attrs = op.input.record.make_attrs(index=self.count, type=kind, weight=weight)
        self.count += 1
        return self.builder.add("input", attrs, [])

    def weight(self, *shape: int) -> Term:
        return self(*shape, weight=True)

    def proves(self, pairs: Sequence[tuple[Term, Term]], rules: RuleSet = ALL, everywhere: bool = True) -> bool:
        """Whether saturation unites the two terms of each pair."""
        find = self.egraph.find
        assert all(a.type == b.type for a, b in pairs)
        assert all(find(a.cls) != find(b.cls) for a, b in pairs)
        for _ in range(LIMITS.iterations):
            saturate(self.egraph, rules, Limits(LIMITS.nodes, 1, LIMITS.seconds), everywhere=everywhere)
            if all(find(a.cls) == find(b.cls) for a, b in pairs):
                return True
        return False


def conv(x: Term, w: Term, **attrs: Any) -> Term:
    given = {"strides": (1, 1), "padding": (0, 0, 0, 0), "groups": 1, **attrs}
    return op.conv2d(x, w, **given)


def concat(*xs: Term, axis: int) -> Term:
    return op.concat(*xs, axis=axis)


def cut(x: Term, axis: int, *sizes: int) -> list[Term]:
    bounds = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    return [op.slice(x, axis=axis, begin=b, end=e) for b, e in pairwise(bounds)]


Sides = tuple[Term, Term]

# -- sums and products --------------------------------------------------------------------------------------------


def sum_associates(t: Program) -> Sides:
    x, y, z = t(4, 5), t(4, 5), t(5)
    return op.add(op.add(x, y), z), op.add(x, op.add(z, y))


def product_associates(t: Program) -> Sides:
    x, y, z = t(2, 4, 5), t(4, 1), t(5)
    return op.multiply(op.multiply(x, y), z), op.multiply(op.multiply(y, z), x)


def product_distributes(t: Program) -> Sides:
    a, b, c = t(4, 5), t(4, 5), t(4, 5)
    return op.multiply(a, op.add(b, c)), op.add(op.multiply(c, a), op.multiply(a, b))


def matmul_associates(t: Program) -> Sides:
    x, a, b = t(2, 4, 5), t(5, 6), t(6, 3)
    return op.matmul(op.matmul(x, a), b), op.matmul(x, op.matmul(a, b))


def matmul_adds_weights(t: Program) -> Sides:
    x, a, b = t(4, 5), t(5, 6), t(5, 6)
    return op.add(op.matmul(x, a), op.matmul(x, b)), op.matmul(x, op.add(b, a))


def matmul_adds_inputs(t: Program) -> Sides:
    x, y, a = t(3, 4, 5), t(3, 4, 5), t(5, 6)
    return op.matmul(op.add(x, y), a), op.add(op.matmul(y, a), op.matmul(x, a))


def sum_of_products_is_one_product(t: Program) -> Sides:
    x, y, a, b = t(4, 5), t(4, 7), t(5, 6), t(7, 6)
    return op.add(op.matmul(x, a), op.matmul(y, b)), op.matmul(concat(x, y, axis=1), concat(a, b, axis=0))


def sum_of_products_factors(t: Program) -> Sides:
    """One common weight among four products."""
    x, y, a, b = t(4, 5), t(4, 5), t(5, 6), t(5, 6)
    four = op.add(op.add(op.matmul(x, a), op.matmul(x, b)), op.add(op.matmul(y, a), op.matmul(y, b)))
    return four, op.matmul(op.add(x, y), op.add(a, b))


def conv_adds_weights(t: Program) -> Sides:
    x, v, w = t(1, 4, 6, 6), t(8, 2, 3, 3), t(8, 2, 3, 3)
    attrs = {"strides": (2, 1), "padding": (1, 0, 1, 1), "groups": 2}
    return op.add(conv(x, v, **attrs), conv(x, w, **attrs)), conv(x, op.add(v, w), **attrs)


def conv_adds_inputs(t: Program) -> Sides:
    x, y, w = t(1, 6, 6, 4), t(1, 6, 6, 4), t(3, 3, 4, 8)
    attrs = {"data_layout": "NHWC", "kernel_layout": "HWIO", "padding": (1, 1, 1, 1)}
    return conv(op.add(x, y), w, **attrs), op.add(conv(y, w, **attrs), conv(x, w, **attrs))


# -- concatenation ------------------------------------------------------------------------------------------------


def concat_of_relus(t: Program) -> Sides:
    x, y = t(2, 3, 4, 4), t(2, 5, 4, 4)
    return concat(op.relu(x), op.relu(y), axis=1), op.relu(concat(x, y, axis=1))


def concat_of_sums(t: Program) -> Sides:
    x, y, u, v = t(2, 3), t(2, 3), t(4, 3), t(4, 3)
    return concat(op.add(x, y), op.add(u, v), axis=0), op.add(concat(y, v, axis=0), concat(x, u, axis=0))


def concat_of_products(t: Program) -> Sides:
    x, y, u, v = t(2, 3), t(3), t(2, 4), t(4)
    return (
        concat(op.multiply(x, y), op.multiply(u, v), axis=1),
        op.multiply(concat(x, u, axis=1), concat(y, v, axis=0)),
    )


def concat_regroups(t: Program) -> Sides:
    x, y, z = t(2, 3), t(2, 4), t(2, 5)
    return concat(concat(x, y, axis=1), z, axis=1), concat(x, concat(y, z, axis=1), axis=1)


def concat_of_concats_transposes(t: Program) -> Sides:
    """A block matrix, by rows or by columns."""
    a, b, c, d = t(2, 3), t(2, 4), t(5, 3), t(5, 4)
    rows = concat(concat(a, b, axis=1), concat(c, d, axis=1), axis=0)
    return rows, concat(concat(a, c, axis=0), concat(b, d, axis=0), axis=1)


def products_of_one_input(t: Program) -> Sides:
    x, a, b = t(4, 5), t(5, 6), t(5, 7)
    return concat(op.matmul(x, a), op.matmul(x, b), axis=1), op.matmul(x, concat(a, b, axis=1))


def products_with_one_weight(t: Program) -> Sides:
    x, y, a = t(4, 5), t(3, 5), t(5, 6)
    return concat(op.matmul(x, a), op.matmul(y, a), axis=0), op.matmul(concat(x, y, axis=0), a)


def products_of_a_batch(t: Program) -> Sides:
    x, y, a, b = t(2, 4, 5), t(3, 4, 5), t(2, 5, 6), t(3, 5, 6)
    return concat(op.matmul(x, a), op.matmul(y, b), axis=0), op.matmul(concat(x, y, axis=0), concat(a, b, axis=0))


def convs_of_one_input(t: Program) -> Sides:
    x, v, w = t(1, 4, 6, 6), t(8, 4, 3, 3), t(2, 4, 3, 3)
    attrs = {"strides": (2, 2), "dilation": (1, 2), "padding": (1, 1, 1, 1)}
    return concat(conv(x, v, **attrs), conv(x, w, **attrs), axis=1), conv(x, concat(v, w, axis=0), **attrs)


def convs_with_one_weight(t: Program) -> Sides:
    x, y, w = t(1, 4, 6, 6), t(3, 4, 6, 6), t(8, 1, 3, 3)
    return concat(conv(x, w, groups=4), conv(y, w, groups=4), axis=0), conv(concat(x, y, axis=0), w, groups=4)


def convs_side_by_side_are_grouped(t: Program) -> Sides:
    x, y, v, w = t(1, 4, 6, 6), t(1, 4, 6, 6), t(8, 4, 3, 3), t(8, 4, 3, 3)
    grouped = conv(concat(x, y, axis=1), concat(v, w, axis=0), groups=2)
    return concat(conv(x, v), conv(y, w), axis=1), grouped


def sum_of_convs_is_one_conv(t: Program) -> Sides:
    x, y, v, w = t(1, 4, 6, 6), t(1, 2, 6, 6), t(8, 4, 3, 3), t(8, 2, 3, 3)
    return op.add(conv(x, v), conv(y, w)), conv(concat(x, y, axis=1), concat(v, w, axis=1))


def fewer_groups(t: Program, stride: int, relu: bool) -> Sides:
    """TASO's merge_gconv: half as many groups, zeros in between."""
    x, w = t(1, 8, 6, 6), t(8, 2, 3, 3)
    attrs = {"strides": (stride, stride), "padding": (1, 1, 1, 1)}
    rows = cut(op.reshape(w, shape=(2, 2, 2, 2, 3, 3)), 1, 1, 1)
    padded = [op.pad(r, pad_width=(0, 0) * 3 + w + (0, 0) * 2) for r, w in zip(rows, ((0, 2), (2, 0)), strict=True)]
    merged = op.reshape(concat(*padded, axis=1), shape=(8, 4, 3, 3))
    left, right = conv(x, w, groups=4, **attrs), conv(x, merged, groups=2, **attrs)
    return (op.relu(left), op.relu(right)) if relu else (left, right)


SINGLE: list[Callable[[Program], Sides]] = [
    sum_associates, product_associates, product_distributes, matmul_associates, matmul_adds_weights,
    matmul_adds_inputs, sum_of_products_is_one_product, sum_of_products_factors, conv_adds_weights, conv_adds_inputs,
    concat_of_relus, concat_of_sums, concat_of_products, concat_regroups, concat_of_concats_transposes,
    products_of_one_input, products_with_one_weight, products_of_a_batch, convs_of_one_input, convs_with_one_weight,
    convs_side_by_side_are_grouped, sum_of_convs_is_one_conv,
]  # fmt: skip


@pytest.mark.parametrize("idea", SINGLE, ids=lambda f: f.__name__)
def test_single_pattern_rules(idea: Callable[[Program], Sides]) -> None:
    t = Program()
    assert t.proves([idea(t)], EVERY)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_grouped_convolution_with_fewer_groups(stride: int, relu: bool) -> None:
    t = Program()
    assert t.proves([fewer_groups(t, stride, relu)])


# -- several patterns at once: TENSAT's fifteen -------------------------------------------------------------------


def test_chained_products_associate_together() -> None:
    """Number 0: two products that begin with the same one."""
    t = Program()
    x, a, b, c = t(4, 5), t(5, 6), t(6, 3), t(6, 2)
    first, second = op.matmul(op.matmul(x, a), b), op.matmul(op.matmul(x, a), c)
    assert t.proves([(first, op.matmul(x, op.matmul(a, b))), (second, op.matmul(x, op.matmul(a, c)))])


def test_a_convolution_and_its_activation_share_the_convolution() -> None:
    """Numbers 1 and 2: equal terms are one node, whoever uses them."""
    t = Program()
    x, w = t(1, 4, 6, 6), t(8, 4, 3, 3)
    assert op.relu(conv(x, w)).cls == op.relu(conv(x, w)).cls
    assert t.egraph.num_nodes == 4


@pytest.mark.parametrize(("shapes", "axis"), [
    (((2, 3), (2, 5)), 1), (((2, 3), (4, 3)), 0), (((1, 2, 4, 4), (1, 3, 4, 4)), 1), (((1, 2, 4, 4), (3, 2, 4, 4)), 0),
])  # fmt: skip
def test_two_activations_are_slices_of_one(shapes: tuple[tuple[int, ...], ...], axis: int) -> None:
    """Numbers 3, 6, 7 and 10."""
    t = Program()
    x, y = (t(*shape) for shape in shapes)
    parts = cut(op.relu(concat(x, y, axis=axis)), axis, x.shape[axis], y.shape[axis])
    assert t.proves(list(zip((op.relu(x), op.relu(y)), parts, strict=True)))


def test_products_of_one_input_are_slices_of_one() -> None:
    """Number 4, here for three weights at once, and found without any proof: weights are what it pays for."""
    t = Program()
    x, *weights = t(2, 4, 5), t.weight(5, 6), t.weight(5, 7), t.weight(5, 2)
    parts = cut(op.matmul(x, concat(*weights, axis=1)), 2, 6, 7, 2)
    assert t.proves([(op.matmul(x, w), p) for w, p in zip(weights, parts, strict=True)], everywhere=False)


def test_products_with_one_weight_are_slices_of_one() -> None:
    """Number 5."""
    t = Program()
    x, y, w = t(4, 5), t(3, 5), t.weight(5, 6)
    parts = cut(op.matmul(concat(x, y, axis=0), w), 0, 4, 3)
    assert t.proves(list(zip((op.matmul(x, w), op.matmul(y, w)), parts, strict=True)), everywhere=False)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_convolutions_with_one_weight_are_slices_of_one(layout: str, relu: bool) -> None:
    """Numbers 8 and 9."""
    t = Program()
    nchw = layout == "NCHW"
    x, y = (t(n, 4, 6, 6) if nchw else t(n, 6, 6, 4) for n in (1, 3))
    w = t.weight(8, 2, 3, 3) if nchw else t.weight(3, 3, 2, 8)
    attrs = {"groups": 2, "data_layout": layout, "kernel_layout": "OIHW" if nchw else "HWIO"}
    f = op.relu if relu else (lambda z: z)
    parts = cut(f(conv(concat(x, y, axis=0), w, **attrs)), 0, 1, 3)
    assert t.proves([(f(conv(z, w, **attrs)), p) for z, p in zip((x, y), parts, strict=True)])


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_of_one_input_are_slices_of_one(groups: int, relu: bool) -> None:
    """Numbers 11 and 12; in groups, the slices are taken within each group."""
    t = Program()
    x, v, w = t(1, 4, 6, 6), t.weight(8, 4 // groups, 3, 3), t.weight(2, 4 // groups, 3, 3)
    f = op.relu if relu else (lambda z: z)
    attrs = {"strides": (2, 2), "groups": groups}
    if groups == 1:
        parts = cut(f(conv(x, concat(v, w, axis=0), **attrs)), 1, 8, 2)
    else:
        split = [op.reshape(u, shape=(2, u.shape[0] // 2, 2, 3, 3)) for u in (v, w)]
        merged = f(conv(x, op.reshape(concat(*split, axis=1), shape=(10, 2, 3, 3)), **attrs))
        inner = cut(op.reshape(merged, shape=(1, 2, 5, 2, 2)), 2, 4, 1)
        parts = [op.reshape(p, shape=(1, size, 2, 2)) for p, size in zip(inner, (8, 2), strict=True)]
    assert t.proves([(f(conv(x, u, **attrs)), p) for u, p in zip((v, w), parts, strict=True)], everywhere=groups > 1)


@pytest.mark.parametrize("relu", [False, True])
def test_convolutions_of_one_input_are_slices_of_one_with_enlarged_kernels(relu: bool) -> None:
    """Numbers 13 and 14: a 1×1 kernel becomes 3×3 beside another one, a 3×1 kernel too."""
    t = Program()
    x, v, u, w = t(1, 4, 6, 6), t.weight(8, 4, 1, 1), t.weight(3, 4, 3, 1), t.weight(2, 4, 3, 3)
    f = op.relu if relu else (lambda z: z)
    grown = [op.pad(v, pad_width=(0, 0, 0, 0, 1, 1, 1, 1)), op.pad(u, pad_width=(0, 0, 0, 0, 0, 0, 1, 1)), w]
    parts = cut(f(conv(x, concat(*grown, axis=0), padding=(1, 1, 1, 1))), 1, 8, 3, 2)
    each = [conv(x, v), conv(x, u, padding=(1, 0, 1, 0)), conv(x, w, padding=(1, 1, 1, 1))]
    assert t.proves([(f(c), p) for c, p in zip(each, parts, strict=True)])


# -- beyond TENSAT ------------------------------------------------------------------------------------------------


def test_queries_keys_and_values_of_all_heads_come_from_one_product() -> None:
    """With biases, split into heads and transposed: only the finished heads are cut apart."""
    t = Program()
    batch, length, heads, size = 2, 6, 4, 8
    width = heads * size
    x = t(batch, length, width)
    weights, biases = [t.weight(width, width) for _ in range(3)], [t.weight(width) for _ in range(3)]

    def split(y: Term) -> Term:
        count = y.shape[-1] // size
        return op.permute_dims(op.reshape(y, shape=(batch, length, count, size)), axes=(0, 2, 1, 3))

    apart = [split(op.add(op.matmul(x, w), b)) for w, b in zip(weights, biases, strict=True)]
    together = split(op.add(op.matmul(x, concat(*weights, axis=1)), concat(*biases, axis=0)))
    assert t.proves(list(zip(apart, cut(together, 1, heads, heads, heads), strict=True)), everywhere=False)


def test_heads_written_one_by_one_are_a_batched_product() -> None:
    t = Program()
    x, w = [t(6, 8) for _ in range(4)], [t.weight(8, 8) for _ in range(4)]
    product = op.matmul(op.stack(*x, axis=0), op.stack(*w, axis=0))
    batched = op.reshape(op.permute_dims(product, axes=(1, 0, 2)), shape=(6, 32))
    apart = concat(*[op.matmul(a, b) for a, b in zip(x, w, strict=True)], axis=1)
    assert t.proves([(apart, batched)], everywhere=False)


def test_attention_scale_moves_into_the_weight_of_the_queries() -> None:
    t = Program()
    x, w, keys = t(2, 6, 32), t.weight(32, 32), t(2, 4, 8, 6)
    scale = t.weight()

    def queries(weight: Term) -> Term:
        heads = op.reshape(op.matmul(x, weight), shape=(2, 6, 4, 8))
        return op.permute_dims(heads, axes=(0, 2, 1, 3))

    scores = op.multiply(op.matmul(queries(w), keys), scale)
    assert t.proves([(scores, op.matmul(queries(op.multiply(w, scale)), keys))], everywhere=False)


def test_first_token_needs_only_its_own_row_of_the_last_layer() -> None:
    """A pooler reads one token: the norm, the residual and both products run on that token alone."""
    t = Program()
    x, v, w, b = t(1, 16, 8), t.weight(8, 32), t.weight(32, 8), t.weight(32)
    gamma, beta = t.weight(8), t.weight(8)

    def layer(y: Term) -> Term:
        hidden = op.matmul(op.gelu(op.add(op.matmul(y, v), b)), w)
        return op.layer_norm(op.add(hidden, y), gamma, beta, axes=(2,))

    def first(y: Term) -> Term:
        return op.slice(y, axis=1, begin=0, end=1)

    assert t.proves([(first(layer(x)), layer(first(x)))], everywhere=False)


def test_reparameterised_block_is_one_convolution() -> None:
    """RepVGG: a 3×3 and a 1×1 convolution and the input itself, added."""
    t = Program()
    x, v, w = t(1, 4, 6, 6), t.weight(4, 4, 3, 3), t.weight(4, 4, 1, 1)
    block = op.add(op.add(conv(x, v, padding=(1, 1, 1, 1)), conv(x, w)), x)
    saturate(t.egraph, ALL, LIMITS)
    found = [t.egraph.ops[n[0]] for n in t.egraph.nodes(block.cls)]
    assert "conv2d" in found


def test_explicit_softmax_is_softmax() -> None:
    t = Program()
    x = t(2, 3, 5)
    shifted = op.exp(op.subtract(x, op.max(x, axes=(2,), keepdims=True)))
    explicit = op.divide(shifted, op.sum(shifted, axes=(2,), keepdims=True))
    assert t.proves([(explicit, op.softmax(x, axis=2))], everywhere=False)


def test_norms_of_one_input_share_their_statistics() -> None:
    """Parallel blocks: each norm's scale and shift go into the weight and the bias behind it."""
    t = Program()
    x = t(6, 8)
    parameters = [(t.weight(8), t.weight(8), t.weight(8, 4)) for _ in range(2)]
    left = [op.matmul(op.layer_norm(x, g, b, axes=(1,)), w) for g, b, w in parameters]
    saturate(t.egraph, ALL, LIMITS)
    norms = {c for c, n in t.egraph.with_op("layer_norm") if t.egraph.data(n[2]).fill == 1}
    assert len(norms) == 1
    for product in left:
        sums = [n for n in t.egraph.nodes(product.cls) if t.egraph.ops[n[0]] == "add"]
        users = [t.egraph.nodes(n[1]) for n in sums]
        assert any(t.egraph.ops[m[0]] == "matmul" and m[1] in norms for nodes in users for m in nodes)


def test_global_mean_of_a_concatenation() -> None:
    t = Program()
    x, y = t(1, 3, 4, 4), t(1, 5, 4, 4)
    pooled = op.adaptive_avg_pool2d(concat(x, y, axis=1), output_size=(1, 1))
    apart = concat(*[op.mean(z, axes=(2, 3), keepdims=True) for z in (x, y)], axis=1)
    assert t.proves([(pooled, apart)], everywhere=False)


def test_slices_join_beside_others_that_do_not() -> None:
    """What is refused for slices of two tensors holds for slices of one, of the same types."""
    t = Program()
    x, y = t(4, 6), t(4, 6)

    def halves(a: Term, b: Term) -> Term:
        first, second = op.slice(a, axis=1, begin=0, end=3), op.slice(b, axis=1, begin=3, end=6)
        return concat(first, second, axis=1)

    mixed = halves(x, y)
    assert t.proves([(halves(x, x), x)], everywhere=False)
    assert t.egraph.find(mixed.cls) != t.egraph.find(x.cls)
