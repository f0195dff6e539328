"""Boxes: where in its output a multilinear program does everywhere the same (PET, OSDI'21, section 4).

Every operator of a *multilinear* program is linear in each operand, and no two factors of a product read the same
input. Its output is then, with ``v`` for the position and ``r`` for what is summed over ::

    P[v] = sum over terms g, sum over r in R_g(v) of  prod over inputs j of  I_j[L_gj(v, r)]

A **box** is a set of positions, a product of intervals of digits (:mod:`~tvm_eqsat.partial.digits`), on which each
``L`` is affine in the digits of ``v`` and the summation interval ``R`` is the same. On a box, a term is one multiset
of products of input elements that is moved as a whole: by ``A_g v``, where the linear part ``A_g`` has one column, the
*steps*, per digit. A program of PET has one linear part; a sum whose operands move differently has several.

**Lemma.** Let B be a box of P and of Q, and K(d) the number of different steps of the digit d in both. If P = Q on the
corner of B, the first min(K(d), n) values of each digit d that has n values in B, then P = Q on all of B. Along a digit
with K(d) = 1, P = Q everywhere or nowhere.

*Proof.* Take one digit, the others fixed. Put the weight 1 at the index vector of each product of input elements in
P[v], and -1 at those of Q[v]. The Fourier transform of these weights is, at almost every frequency, a sum of K(d) terms
``c_g z_g**v`` with ``|z_g| = 1`` and different ``z_g``. If it is zero at K(d) consecutive ``v``, every ``c_g`` is zero,
since the Vandermonde matrix of the ``z_g`` is regular, and P = Q for every ``v``. A digit with fewer values has all of
them in the corner. Apply this to one digit after the other. If K(d) = 1, ``c z**v`` is zero for all ``v`` or for none.

For K(d) = 2 the corner has the m + 1 points of PET's theorem 1 (a corner of the box and its neighbours) among its own.

Boxes are propagated forwards from the inputs, each of which is one box. Where a step can't be followed, boxes end: at
every wrap-around of a digit that isn't seamless, and at every element of a constant that isn't uniform.
"""

from __future__ import annotations

from ..errors import IllTyped
from ..graph.operator import OPERATORS
from ..graph.tensor_graph import TensorGraph
from .digits import Boxes
from .propagation import TRANSFER

#: For each dimension of a tensor, begin and end.
Box = tuple[tuple[int, int], ...]


def boxes(program: TensorGraph) -> Boxes:
    """The boxes of a program's output, as products of intervals of digits.

    Parameters
    ----------
    program : TensorGraph
        A multilinear program with one output and static shapes.

    Raises
    ------
    IllTyped
        The program isn't multilinear, or has an operator that isn't known here.
    """
    found: dict[int, Boxes] = {}
    for i in program.live():
        node = program.nodes[i]
        if node.op not in TRANSFER or not OPERATORS[node.op].linear_if(node.attrs):
            raise IllTyped(f"{node.op} isn't multilinear, or its boxes aren't known: leave it outside of the program")
        found[i] = TRANSFER[node.op](node, [found[k] for k in node.inputs]).normal()
    return found[program.outputs[0]]


def output_boxes(program: TensorGraph) -> list[list[int]]:
    """Where boxes begin, per dimension of the output; what they are is in the module's description.

    Parameters
    ----------
    program : TensorGraph
        A multilinear program with one output and static shapes.

    Returns
    -------
    list of list of int
        Ascending, without 0. The boxes are the products of the intervals in between; where digits interleave, they
        are finer than those of :func:`boxes`.

    Raises
    ------
    IllTyped
        The program isn't multilinear, or has an operator that isn't known here.
    """
    return [list(line.splits) for line in boxes(program).lines()]
