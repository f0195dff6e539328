"""The check that every extraction passes must fail for wrong ones."""

from __future__ import annotations

from math import inf

import pytest

from tests.extract.egraphs import egraph
from tvm_eqsat.errors import ExtractionError
from tvm_eqsat.extract import Extraction, check

#                 0: nodes 0, 1           1: nodes 2, 3        2: node 4    3: nodes 5, 6
FROZEN = egraph([[(1, [1, 2]), (9, [])], [(2, [2]), (0, [0])], [(4, [])], [(1, []), (inf, [])]], [0])


def test_right_ones_pass() -> None:
    check(FROZEN, Extraction({0: 0, 1: 2, 2: 4}, 7.0))
    check(FROZEN, Extraction({0: 1}, 9.0, lower_bound=7.0))


@pytest.mark.parametrize(
    ("extraction", "message"),
    [
        (Extraction({0: 0, 1: 2}, 3.0), "needs class 2"),
        (Extraction({}, 0.0), "needs class 0"),
        (Extraction({0: 1, 2: 4}, 13.0), "class 2 is chosen, which no root needs"),
        (Extraction({0: 0, 1: 3, 2: 4}, 5.0), "cycle through class 0"),
        (Extraction({0: 4}, 4.0), "class 0 can't take node 4"),
        (Extraction({0: 7}, 4.0), "class 0 can't take node 7"),
        (Extraction({0: -1}, 4.0), "class 0 can't take node -1"),
        (Extraction({0: 0, 1: 2, 2: 4}, 6.999), "costs 7.0, not 6.999"),
        (Extraction({0: 0, 1: 2, 2: 4}, 7.0, lower_bound=7.1), "lower bound 7.1"),
    ],
)
def test_wrong_ones_do_not(extraction: Extraction, message: str) -> None:
    with pytest.raises(ExtractionError, match=message):
        check(FROZEN, extraction)


def test_infinite_nodes_are_not_chosen() -> None:
    frozen = egraph([[(inf, []), (1, [])]], [0])
    with pytest.raises(ExtractionError, match="can't take node 0"):
        check(frozen, Extraction({0: 0}, inf))
