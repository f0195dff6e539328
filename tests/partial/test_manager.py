"""The mutation manager: what was found is found again, at the same and at other shapes, in this and in other runs."""

from __future__ import annotations

import json
from functools import cache
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.partial.programs import conv, right
from tvm_eqsat.errors import OptionError
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.partial.manager import FILE, MutationManager
from tvm_eqsat.partial.mutants import Mutant, identity
from tvm_eqsat.partial.stored import Lines

SMALL: dict[str, Any] = {"limit": 4, "alike": 1, "corrections": 1, "slack": inf}


def program(size: int = 6) -> TensorGraph:
    """A dilated convolution."""
    return conv((1, 2, size, size), (3, 2, 3, 3), padding=(2, 2, 2, 2), dilation=(2, 2))


@cache
def stored() -> tuple[list[Mutant], bytes]:
    """Mutants of the program, and the file that they are written to."""
    with TemporaryDirectory() as folder:
        manager = MutationManager(folder, **SMALL)
        found = manager.mutants(program())
        manager.save()
        assert found
        return found, (Path(folder) / FILE).read_bytes()


def saved(folder: Path) -> list[Mutant]:
    """Mutants of the program, as an earlier run has found and written them."""
    found, data = stored()
    (folder / FILE).write_bytes(data)
    return found


def counts(manager: MutationManager) -> tuple[int, int, int]:
    """Programs that were searched, reused recipes, were known."""
    return manager.searched, manager.reused, manager.known


def alike(left: list[Mutant], right: list[Mutant]) -> bool:
    """Whether two lists hold the same programs under the same names."""
    return [(m.name, m.recipe, identity(m.graph)) for m in left] == [
        (m.name, m.recipe, identity(m.graph)) for m in right
    ]


def test_the_same_program_is_searched_once() -> None:
    manager = MutationManager(**SMALL)
    assert manager.mutants(program()) is manager.mutants(program())
    assert counts(manager) == (1, 0, 1)


def test_other_shapes_reuse_recipes_and_test_them_again() -> None:
    manager = MutationManager(**SMALL)
    first = manager.mutants(program(6))
    other = program(8)
    second = manager.mutants(other)
    assert counts(manager) == (1, 1, 0)
    assert {m.recipe for m in second} <= {m.recipe for m in first}
    assert all(right(other, m.graph) == 1 for m in second)


def test_recipes_that_mostly_fail_start_a_new_search() -> None:
    manager = MutationManager(**SMALL)
    manager.mutants(conv((4, 2, 6, 6), (2, 2, 3, 3), padding=(1, 1, 1, 1)))
    manager.mutants(conv((1, 2, 7, 1), (2, 2, 3, 1), padding=(1, 1, 1, 1)))
    assert manager.searched == 2


def test_other_attributes_are_another_program() -> None:
    manager = MutationManager(**SMALL)
    manager.mutants(program())
    manager.mutants(conv((1, 2, 6, 6), (2, 2, 3, 3), padding=(1, 1, 1, 1)))
    assert manager.searched == 2


def test_the_next_run_knows_them(tmp_path: Path) -> None:
    found = saved(tmp_path)
    manager = MutationManager(tmp_path, **SMALL)
    again = manager.mutants(program())
    assert counts(manager) == (0, 0, 1)
    assert alike(found, again)
    assert all(right(program(), m.graph) == 1 for m in again)


def test_other_settings_or_prices_search_again(tmp_path: Path) -> None:
    saved(tmp_path)
    for manager in (
        MutationManager(tmp_path, **{**SMALL, "limit": 3}),
        MutationManager(tmp_path, context="gpu", **SMALL),
    ):
        manager.mutants(program())
        assert counts(manager) == (1, 0, 0)


@pytest.mark.parametrize("damage", ["cut", "flip", "foreign", "binary"])
def test_damage_costs_a_search_and_is_kept(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    found = saved(tmp_path)
    path = tmp_path / FILE
    data = path.read_bytes()
    broken = {
        "cut": data[: len(data) // 2],
        "flip": data.replace(b"conv2d", b"matmul", 1),
        "foreign": b'{"tuning": "record"}\n',
        "binary": bytes(range(1, 256)),
    }[damage]
    path.write_bytes(broken)
    manager = MutationManager(tmp_path, **SMALL)
    assert "damaged" in caplog.text
    assert alike(manager.mutants(program()), found)
    assert manager.searched == 1
    manager.save()
    assert path.read_bytes().startswith(broken.rstrip(b"\n"))
    assert MutationManager(tmp_path, **SMALL).mutants(program())


@pytest.mark.parametrize("what", ["operator", "attribute", "shape"])
def test_a_mutant_of_another_program_is_not_taken(tmp_path: Path, what: str) -> None:
    saved(tmp_path)
    (value,) = Lines(tmp_path / FILE).read()
    nodes = value["mutants"][0][2]
    if what == "operator":
        nodes[-1][0] = "nonsense"
    elif what == "attribute":
        nodes[-1][1] = nodes[-1][1][1:]
    else:
        value["mutants"][0][3] = [0]  # the data, in place of the result
    (tmp_path / FILE).unlink()
    Lines(tmp_path / FILE).add([value])
    manager = MutationManager(tmp_path, **SMALL)
    manager.mutants(program())
    assert manager.searched == 1


def test_runs_side_by_side_keep_each_others_mutants(tmp_path: Path) -> None:
    first, second = MutationManager(tmp_path, **SMALL), MutationManager(tmp_path, **SMALL)
    first.mutants(program(6))
    second.mutants(program(8))
    first.save()
    second.save()
    both = MutationManager(tmp_path, **SMALL)
    both.mutants(program(6))
    both.mutants(program(8))
    assert counts(both) == (0, 0, 2)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    manager = MutationManager(tmp_path / "missing", **SMALL)
    manager.mutants(program())
    with pytest.raises(OptionError, match="missing"):
        manager.save()


def test_lines_hold_json(tmp_path: Path) -> None:
    saved(tmp_path)
    for line in (tmp_path / FILE).read_text().splitlines():
        assert json.loads(line.partition(" ")[2])["format"] == 1
