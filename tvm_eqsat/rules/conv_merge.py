"""Two-dimensional convolution: several made one, and one made several."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from .conv import conv, input_axis, kernel_size, output_axis, sampled
from .dsl import Term, attributes, each, op, rest, tensors
from .lib import channel, same, slices, spatial, total
from .rule import Rule, RuleSet

x, y, z, w = tensors("x y z w")
a, b, k = attributes("a b k")


def _share_input(x: Term, w: tuple[Term, ...], a: Any) -> list[Term]:
    merged = conv(x, op.concat(*w, axis=output_axis(a[0])), a[0])
    return slices(merged, channel(a[0].data_layout), [t.shape[output_axis(a[0])] for t in w])


def _centre(w: Term, a: Any) -> Any:
    """What convolutions have in common whose kernels become equal when zeros are put around the smaller ones.

    Such a kernel sees the same input at the same place if the padding differs by just the zeros' reach.
    """
    height, width = kernel_size(w, a)
    if height % 2 == 0 or width % 2 == 0:
        return None
    reach = (height // 2 * a.dilation[0], width // 2 * a.dilation[1])
    return a._replace(padding=tuple(p - r for p, r in zip(a.padding, reach * 2, strict=True)))


def _enlarged(w: Sequence[Term], a: Sequence[Any]) -> tuple[list[Term], Any] | None:
    """Weights with zeros around the smaller kernels, and the attributes that go with them."""
    kernels = [kernel_size(t, b) for t, b in zip(w, a, strict=True)]
    largest = max(range(len(w)), key=lambda i: kernels[i])
    if any(kernels[i][j] > kernels[largest][j] for i in range(len(w)) for j in (0, 1)) or len(set(kernels)) == 1:
        return None
    grown = []
    for t, kernel in zip(w, kernels, strict=True):
        width = [0] * 8
        for j, axis in enumerate(spatial(a[0].kernel_layout)):
            width[2 * axis] = width[2 * axis + 1] = (kernels[largest][j] - kernel[j]) // 2
        grown.append(op.pad(t, pad_width=tuple(width)) if any(width) else t)
    return grown, a[largest]


def _share_input_enlarged(x: Term, w: tuple[Term, ...], a: Any) -> list[Term] | None:
    found = _enlarged(w, a)
    return _share_input(x, tuple(found[0]), (found[1],)) if found else None


def _sum_enlarged(x: Term, y: Term, z: Term, w: Term, a: Any, b: Any) -> Term | None:
    found = _enlarged((y, w), (a, b)) if a.groups == 1 and _centre(y, a) == _centre(w, b) else None
    return _join_channels(x, found[0][0], z, found[0][1], found[1]) if found else None


def _sum_enlarged_weights(x: Term, y: Term, w: Term, a: Any, b: Any) -> Term | None:
    found = _enlarged((y, w), (a, b)) if _centre(y, a) == _centre(w, b) else None
    return conv(x, op.add(*found[0]), found[1]) if found else None


def _split_axis(x: Term, axis: int, *sizes: int) -> Term:
    return op.reshape(x, shape=(*x.shape[:axis], *sizes, *x.shape[axis + 1 :]))


def _merge_axes(x: Term, axis: int, count: int = 2) -> Term:
    return op.reshape(x, shape=(*x.shape[:axis], prod(x.shape[axis : axis + count]), *x.shape[axis + count :]))


def _share_input_grouped(x: Term, w: tuple[Term, ...], a: Any) -> list[Term]:
    """Each group's filters come together, so the results are cut within each group."""
    groups, o, c = a[0].groups, output_axis(a[0]), channel(a[0].data_layout)
    sizes = [t.shape[o] // groups for t in w]
    split = [_split_axis(t, o, groups, size) for t, size in zip(w, sizes, strict=True)]
    merged = conv(x, _merge_axes(op.concat(*split, axis=o + 1), o), a[0])
    return [_merge_axes(t, c) for t in slices(_split_axis(merged, c, groups, sum(sizes)), c + 1, sizes)]


def _fewer_groups(x: Term, w: Term, a: Any) -> Term:
    """Some groups become one: each filter gets zeros for the channels of the others."""
    count = next(m for m in range(2, a.groups + 1) if a.groups % m == 0)
    o, inner = output_axis(a), w.shape[input_axis(a)]
    split = _split_axis(w, o, a.groups // count, count, w.shape[o] // a.groups)
    i = input_axis(a) + (2 if input_axis(a) > o else 0)
    padded = []
    for r, part in enumerate(slices(split, o + 1, [1] * count)):
        width = [0] * (2 * split.rank)
        width[2 * i], width[2 * i + 1] = r * inner, (count - 1 - r) * inner
        padded.append(op.pad(part, pad_width=tuple(width)))
    return conv(x, _merge_axes(op.concat(*padded, axis=o + 1), o, 3), a._replace(groups=a.groups // count))


def _grouped(x: tuple[Term, ...], w: tuple[Term, ...], a: tuple[Any, ...], k: int) -> Term | None:
    o, c = output_axis(a[0]), channel(a[0].data_layout)
    if k != c or not same([b._replace(groups=1) for b in a]):
        return None
    if not same([t.shape[o] // b.groups for t, b in zip(w, a, strict=True)]):
        return None
    return conv(op.concat(*x, axis=c), op.concat(*w, axis=o), a[0]._replace(groups=sum(b.groups for b in a)))


def _share_weight(x: tuple[Term, ...], w: Term, a: Any) -> list[Term]:
    axis = a[0].data_layout.index("N")
    merged = conv(op.concat(*x, axis=axis), w, a[0])
    return slices(merged, axis, [t.shape[axis] for t in x])


def _split_channels(xs: tuple[Term, ...], w: Term, a: Any, k: int) -> Term | None:
    if a.groups != 1 or k != channel(a.data_layout):
        return None
    parts = slices(w, input_axis(a), [t.shape[k] for t in xs])
    return total([conv(t, part, a) for t, part in zip(xs, parts, strict=True)])


def _join_channels(x: Term, y: Term, z: Term, w: Term, a: Any) -> Term:
    return conv(op.concat(x, z, axis=channel(a.data_layout)), op.concat(y, w, axis=input_axis(a)), a)


# -- attributes for the generated tests --------------------------------------------------------------------------


def _centred(rng: Any, x: Any, w: Any) -> Any:
    """Attributes with which kernels of all odd sizes meet the same places."""
    a = sampled(rng, x, w)
    kernel = [w.shape[i] for i in spatial(a.kernel_layout)]
    reach = tuple(size // 2 for size in kernel)
    return a._replace(strides=(1 + x.shape[0] % 2,) * 2, dilation=(1, 1), padding=reach * 2)


CONV_MERGE = RuleSet(
    [
        Rule(
            name="conv-share-input",
            law="conv(x, w_1), conv(x, w_2), … = slices of conv(x, [w_1; w_2; …])",
            lhs=op.conv2d(x, w, attrs=a),
            shared=(x,),
            key=lambda w, a: (a, kernel_size(w, a)) if a.groups == 1 else None,
            pays=lambda w: w.const,
            rhs=_share_input,
            source="TENSAT multi-pattern rules 11 and 12",
            shapes=("x=:ni55 w!:~i33", "x=:n55i w!:23i~", "x=:n55i w!:~22i"),
        ),
        Rule(
            name="conv-share-input-enlarged",
            law="conv(x, w_1), conv(x, w_2), … = slices of one convolution, smaller kernels enlarged with zeros",
            lhs=op.conv2d(x, w, attrs=a),
            shared=(x,),
            key=lambda w, a: _centre(w, a) if a.groups == 1 else None,
            pays=lambda w: w.const,
            rhs=_share_input_enlarged,
            reassociates=True,
            source="TENSAT multi-pattern rules 13 and 14",
            shapes=("x=:ni55 w!:~iop", "x=:n55i w!:opi~", "x=:n55i w!:~opi"),
            attrs={
                "o": lambda rng, i: 2 * i + 1,
                "p": lambda rng, i: 1 + 2 * int(rng.integers(i + 1)),
                "a": lambda rng, x, w: _centred(rng, x, w),
            },
        ),
        Rule(
            name="conv-share-weight",
            law="conv(x_1, w), conv(x_2, w), … = slices of conv([x_1; x_2; …], w) along the batch",
            lhs=op.conv2d(x, w, attrs=a),
            shared=(w,),
            key=lambda x, a: (a, x.shape[1:]) if a.data_layout[0] == "N" else None,
            rhs=_share_weight,
            source="TENSAT multi-pattern rules 8 and 9",
            shapes=("x:~i55 w=!:oi33", "x:~655 w=!:6322", "x:~55i w=!:23io", "x:~55i w=!:o22i"),
        ),
        Rule(
            name="conv-of-concat",
            law="conv([x | y], w) = conv(x, first input channels of w) + conv(y, the others)",
            lhs=op.conv2d(op.concat(rest("xs"), axis=k), w, attrs=a),
            rhs=_split_channels,
            pays=lambda w: w.const,
            reassociates=True,
            source="TASO axioms: concat and conv",
            shapes=("xs*:3255 w!:o433", "xs*:1552 w!:234o", "xs*:5552 w!:o224"),
            attrs={"count": lambda rng: 2, "k": lambda rng, *ts: ts[0].shape.index(2)},
        ),
        Rule(
            name="conv-sum-of-products",
            law="conv(x, w_1) + conv(y, w_2) = conv([x | y], [w_1 | w_2]) along the input channels",
            lhs=op.add(op.conv2d(x, y, attrs=a), op.conv2d(z, w, attrs=a)),
            rhs=_join_channels,
            when=lambda a: a.groups == 1,
            pays=lambda y, w: y.const and w.const,
            reassociates=True,
            source="TENSAT: concatenation along the reduced axis",
            shapes=(
                "x:ni55 y!:oi33 z:nj55 w!:oj33",
                "x:n55i y!:32io z:n55j w!:32jo",
                "x:n55i y!:o22i z:n55j w!:o22j",
            ),
            counterexample="x:n655 y:6322 z:n655 w:6322",
        ),
        Rule(
            name="conv-factor-input",
            law="conv(x, w) + conv(x, v) = conv(x, w + v)",
            lhs=op.add(op.conv2d(x, w, attrs=a), op.conv2d(x, z, attrs=a)),
            rhs=lambda x, w, z, a: conv(x, op.add(w, z), a),
            reassociates=True,
            source="TASO axioms: conv is bilinear",
            shapes=("x:ni55 w:oi33 z:oi33", "x:n655 w:6322 z:6322", "x:n55i w:23io z:23io", "x:n55i w:o22i z:o22i"),
        ),
        Rule(
            name="conv-factor-weight",
            law="conv(x, w) + conv(y, w) = conv(x + y, w)",
            lhs=op.add(op.conv2d(x, w, attrs=a), op.conv2d(y, w, attrs=a)),
            rhs=lambda x, y, w, a: conv(op.add(x, y), w, a),
            reassociates=True,
            source="TASO axioms: conv is bilinear",
            shapes=("x:ni55 y:ni55 w:oi33", "x:n655 y:n655 w:6322", "x:n55i y:n55i w:23io", "x:n55i y:n55i w:o22i"),
        ),
        Rule(
            name="conv-sum-enlarged",
            law="conv(x, w) + conv(y, v) = conv([x | y], [w | v]), the smaller kernel enlarged with zeros",
            lhs=op.add(op.conv2d(x, y, attrs=a), op.conv2d(z, w, attrs=b)),
            rhs=_sum_enlarged,
            pays=lambda y, w: y.const and w.const,
            reassociates=True,
            source="RepVGG (Ding et al., CVPR'21, §3.3)",
            shapes=(
                "x:ni55 y!:oi33 z:nj55 w!:oj11",
                "x:n55i y!:35io z:n55j w!:15jo",
                "x:n55i y!:o11i z:n55j w!:o31j",
            ),
            attrs={
                "a": lambda rng, x, y: _centred(rng, x, y),
                "b": lambda rng, z, w: _centred(rng, z, w),
            },
        ),
        Rule(
            name="conv-sum-enlarged-weights",
            law="conv(x, w) + conv(x, v) = conv(x, w + v), the smaller kernel enlarged with zeros",
            lhs=op.add(op.conv2d(x, y, attrs=a), op.conv2d(x, w, attrs=b)),
            rhs=_sum_enlarged_weights,
            pays=lambda y, w: y.const and w.const,
            reassociates=True,
            source="RepVGG (Ding et al., CVPR'21, §3.3)",
            shapes=("x:ni55 y!:oi33 w!:oi11", "x:n55i y!:35io w!:15io", "x:n655 y!:6311 w!:6333"),
            attrs={
                "a": lambda rng, x, y: _centred(rng, x, y),
                "b": lambda rng, x, w: _centred(rng, x, w),
            },
        ),
        Rule(
            name="conv-share-input-grouped",
            law="conv(x, w_1), conv(x, w_2), … in the same groups = slices, in each group, of one grouped convolution",
            lhs=op.conv2d(x, w, attrs=a),
            shared=(x,),
            key=lambda w, a: (a, kernel_size(w, a)) if a.groups > 1 else None,
            pays=lambda w, a: w.const and kernel_size(w, a) != (1, 1),
            rhs=_share_input_grouped,
            source="depthwise convolutions of one input (NASNet)",
            shapes=("x=:n455 w!:4133", "x=:n655 w!:6322", "x=:n556 w!:2236", "x=:n556 w!:6223"),
        ),
        Rule(
            name="conv-merge-groups",
            law="conv in g groups = conv in g/m groups whose weights are zero between the groups that were joined",
            lhs=op.conv2d(x, w, attrs=a),
            rhs=_fewer_groups,
            when=lambda a: a.groups > 1,
            pays=lambda w, a: w.const and not w.info.merged and w.shape[input_axis(a)] >= 4,
            reassociates=True,
            source="TENSAT: merge_gconv (ResNeXt)",
            shapes=("x:n855 w!:8433", "x:n655 w!:6122", "x:n655 w!:6322", "x:n558 w!:2248", "x:n558 w!:8224"),
            counterexample="x:n455 w:6433",
        ),
        Rule(
            name="concat-of-conv2d-filters",
            law="[conv(x, w) | conv(x, v)] = conv(x, [w; v])",
            lhs=op.concat(op.conv2d(x, y, attrs=a), each(op.conv2d(x, w, attrs=a)), axis=k),
            rhs=lambda x, y, w, a: conv(x, op.concat(y, *w, axis=output_axis(a)), a),
            when=lambda a, k: a.groups == 1 and k == channel(a.data_layout),
            pays=lambda w: all(t.const for t in w),
            source="TASO axioms: concat and conv",
            shapes=("x==:ni55 y!:2i33 w!:~i33", "x==:n55i y!:33i3 w!:33i~", "x==:n55i y!:322i w!:~22i"),
            attrs={"k": lambda rng, x, y: 3 if y.shape[-1] == x.shape[-1] or y.shape[2] == x.shape[-1] else 1},
            counterexample="x==:n6hw y:o333 w:o333",
        ),
        Rule(
            name="concat-of-conv2d-batch",
            law="[conv(x, w); conv(y, w)] = conv([x; y], w) along the batch",
            lhs=op.concat(op.conv2d(y, w, attrs=a), each(op.conv2d(x, w, attrs=a)), axis=k),
            rhs=lambda x, y, w, a, k: conv(op.concat(y, *x, axis=k), w, a),
            when=lambda a, k: k == a.data_layout.index("N"),
            source="TASO axioms: concat and conv",
            shapes=("y:3i55 x:~i55 w==:oi33", "y:3655 x:~655 w==:6322", "y:355i x:~55i w==:22io"),
            attrs={"k": lambda rng: 0},
            counterexample="y:ni55 x:ni55 w==:oi33",
        ),
        Rule(
            name="concat-of-conv2d-groups",
            law="[conv(x, w) | conv(y, v)] = conv([x | y], [w; v]) in groups",
            lhs=op.concat(each(op.conv2d(x, w, attrs=a)), axis=k),
            rhs=_grouped,
            pays=lambda w: all(t.const for t in w),
            source="TASO axioms: concat and conv",
            shapes=("x:ni55 w!:7i33", "x:n655 w!:8322", "x:n55i w!:722i", "x:n55i w!:32i7"),
            attrs={"k": lambda rng, *ts: 1 if ts[0].shape[1] in (7, 8) else 3},
        ),
    ]
)
