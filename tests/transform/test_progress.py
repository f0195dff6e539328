"""Progress that people see: bars inside others on a terminal, lines elsewhere, nothing on request."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from tvm_eqsat.progress import Progress


class Terminal(io.StringIO):
    """What a terminal gets."""

    def isatty(self) -> bool:
        return True


def _work(quiet: bool = False) -> None:
    with Progress("tuning", 10, "trials", quiet=quiet) as outer:
        outer.advance(4, "first kernel")
        with Progress("searching main", 5, "simulations", quiet=quiet) as inner:
            inner.advance(2, "1.500 ms")
            inner.advance(3, "1.250 ms")
        outer.advance(6, "second kernel")
    assert (outer.done, inner.done) == (10, 5)


def test_one_may_run_inside_another_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    for _ in range(2):  # the first leaves nothing behind
        _work()
    assert "tuning" in terminal.getvalue()
    assert terminal.getvalue().count("second kernel") >= 2


def test_lines_elsewhere_and_nothing_on_request(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tvm_eqsat.progress"):
        _work(quiet=True)
        assert not caplog.messages
        _work()
    assert [line.split(",")[0] for line in caplog.messages] == [
        "searching main: 5/5 simulations",
        "tuning: 10/10 trials",
    ]
