"""Prices of whole modules."""

from __future__ import annotations

import pytest
from tvm import relax
from tvm.relax import op

from tests.cost.builders import MACHINE, TARGET, constant, conv, module
from tvm_eqsat.cost.lower import kernels
from tvm_eqsat.cost.pricer import ROOFLINE_UNCERTAINTY, Chain, Price, RooflinePricer
from tvm_eqsat.cost.pricing import price_module, pricer_for
from tvm_eqsat.errors import MeasurementError

ROOFLINE = RooflinePricer(MACHINE)
X = (1, 64, 56, 56)


class Knows:
    """Knows kernels whose name contains a word."""

    def __init__(self, word, seconds):
        self.word, self.seconds, self.source = word, seconds, f"knows {word}"

    def price(self, kernel):
        return Price(self.seconds, self.source) if self.word in kernel.name else None

    def uncertainty(self, kernel):
        return 0.1 if self.word in kernel.name else None

    def refresh(self):
        self.seconds /= 2


def seconds(build, *shapes):
    return price_module(module(build, *shapes), TARGET, ROOFLINE).seconds


def test_the_first_pricer_that_knows_answers():
    mod = module(lambda e, x, w: e(op.nn.softmax(e(op.matmul(x, w)))), (64, 64), (64, 64))
    price = price_module(mod, TARGET, Chain(Knows("softmax", 1.0), Knows("soft", 5.0), ROOFLINE))
    assert {row.kernel.name: row.price.source for row in price.rows} == {
        "matmul": "roofline",
        "softmax": "knows softmax",
    }
    assert price.seconds == 1.0 + price.by_source()["roofline"]
    assert price.calls == 2


def test_a_chain_answers_with_the_doubt_of_the_pricer_that_answers():
    (matmul,) = kernels(module(lambda e, x, w: e(op.matmul(x, w)), (8, 8), (8, 8)), TARGET)
    chain = Chain(Knows("softmax", 1.0), Knows("mat", 5.0), ROOFLINE)
    assert chain.uncertainty(matmul) == 0.1
    assert Chain(Knows("softmax", 1.0), ROOFLINE).uncertainty(matmul) == ROOFLINE_UNCERTAINTY
    assert Chain(Knows("softmax", 1.0)).uncertainty(matmul) is None
    chain.refresh()
    assert chain.price(matmul).seconds == 2.5


def test_calls_are_multiplied():
    def chain(e, x, *weights):
        for w in weights:
            x = e(op.matmul(x, w))
        return x

    one, four = seconds(chain, (64, 64), (64, 64)), seconds(chain, (64, 64), *[(64, 64)] * 4)
    assert four == pytest.approx(4 * one)


def test_an_unknown_kernel_is_an_error():
    with pytest.raises(MeasurementError, match=r"no pricer knows the kernel matmul.*RooflinePricer"):
        price_module(module(lambda e, x: e(op.matmul(x, x)), (8, 8)), TARGET, Chain(Knows("conv", 1.0)))


def test_without_a_database_the_roofline_answers(monkeypatch, tmp_path):
    monkeypatch.setenv("TVM_EQSAT_CACHE", str(tmp_path))
    assert pricer_for(TARGET).source == "roofline"


# -- programs that the prices must rank -----------------------------------------------------------------------------


def test_folded_batch_norm_is_faster():
    def unfolded(e, x, w):
        y = e(op.nn.batch_norm(conv(e, x, w), *[constant(64)] * 4, axis=1, training=False))
        return e(op.nn.relu(e(relax.TupleGetItem(y, 0))))

    def folded(e, x, w):
        return e(op.nn.relu(e(op.add(conv(e, x, w), constant(1, 64, 1, 1)))))

    shapes = X, (64, 64, 3, 3)
    assert seconds(folded, *shapes) < 0.98 * seconds(unfolded, *shapes)


def test_adding_is_faster_than_stack_and_sum():
    def added(e, a, *rest):
        for b in rest:
            a = e(op.add(a, b))
        return a

    def stacked(e, *xs):
        return e(op.sum(e(op.stack(list(xs), 0)), [0]))

    rows = [(128, 768)] * 4
    assert seconds(added, *rows) < seconds(stacked, *rows)


def test_merged_qkv_is_about_as_fast():
    def split_heads(e, y):
        return e(op.permute_dims(e(op.reshape(y, (1, 128, 12, 64))), (0, 2, 1, 3)))

    def three(e, x, *weights):
        return relax.Tuple([split_heads(e, e(op.matmul(x, w))) for w in weights])

    def merged(e, x, w):
        y = e(op.matmul(x, w))
        parts = [e(op.strided_slice(y, [1], [b], [b + 768])) for b in (0, 768, 1536)]
        return relax.Tuple([split_heads(e, p) for p in parts])

    ratio = seconds(merged, (128, 768), (768, 2304)) / seconds(three, (128, 768), *[(768, 768)] * 3)
    assert 0.97 < ratio < 1.0  # one kernel and two reads of x less; the slices join the copies that follow anyway


def test_enlarging_a_1x1_convolution_to_merge_it_is_slower():
    """A SqueezeNet fire module: expand 1×1 and 3×3, concatenated."""

    def apart(e, x, w1, w3):
        ys = [e(op.nn.relu(conv(e, x, w1, padding=0))), e(op.nn.relu(conv(e, x, w3)))]
        return e(op.concat(ys, 1))

    def enlarged(e, x, w):
        return e(op.nn.relu(conv(e, x, w)))

    for channels, size in ((16, 55), (32, 27), (64, 13)):
        x, f = (1, channels, size, size), 4 * channels
        together = seconds(enlarged, x, (2 * f, channels, 3, 3))
        assert seconds(apart, x, (f, channels, 1, 1), (f, channels, 3, 3)) < together


def test_a_channels_last_network_is_faster():
    """Three residual bottlenecks."""

    def network(layout):
        axis = layout.index("C")

        def build(e, x):
            for _ in range(3):
                y = x
                for size, cin, cout in ((1, 256, 64), (3, 64, 64), (1, 64, 256)):
                    w = (cout, cin, size, size) if layout == "NCHW" else (size, size, cin, cout)
                    bias = [1] * 4
                    bias[axis] = cout
                    y = e(op.add(conv(e, y, constant(*w), size // 2, layout), constant(*bias)))
                    y = e(op.nn.relu(e(op.add(y, x)) if cout == 256 else y))
                x = y
            return x

        return build

    first, last = seconds(network("NCHW"), (1, 256, 56, 56)), seconds(network("NHWC"), (1, 56, 56, 256))
    assert last < first < 2 * last


def test_conversions_between_every_pair_of_layers_are_not_worth_it():
    def converting(e, x, w):
        there = e(op.permute_dims(x, (0, 2, 3, 1)))
        return e(op.permute_dims(e(op.nn.relu(conv(e, there, w, 0, "NHWC"))), (0, 3, 1, 2)))

    def plain(e, x, w):
        return e(op.nn.relu(conv(e, x, w, 0)))

    assert seconds(plain, X, (64, 64, 1, 1)) < seconds(converting, X, (1, 1, 64, 64))
