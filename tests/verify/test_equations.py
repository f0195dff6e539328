"""Equations checked: read, typed, evaluated, proved, and reported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tvm_eqsat.errors import FormatError, IllTyped
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.rules import ALL
from tvm_eqsat.verify.equations import Status, check_file, check_lines, parse, prove
from tvm_eqsat.verify.equations.__main__ import main
from tvm_eqsat.verify.equations.numeric import holds
from tvm_eqsat.verify.equations.prover import TOWARDS_ONE_FORM
from tvm_eqsat.verify.equations.shapes import typed
from tvm_eqsat.verify.equations.translate import translate

ROOT = Path(__file__).parents[2]


def _status(text: str) -> Status:
    return check_lines([text]).verdicts[0].status


def _graph(text: str) -> TensorGraph:
    return translate(typed(parse(text))[0])


# -- syntax --


def test_equations_are_printed_as_they_are_read() -> None:
    text = "conv2d(1,1,0,2,x,enlarge(3,3,w))==relu(conv2d(1,1,0,0,x,w))"
    assert str(parse(text)) == text
    assert str(parse(" ewadd( x ,y)  ==  y_2 ")) == "ewadd(x,y)==y_2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("relu(x)", "line 7, column 8: expected '==', found the end of the line"),
        ("relu(x==y", "line 7, column 7: expected ',' or ')', found '=='"),
        ("relu(x)==y)", "line 7, column 11: expected the end of the line, found ')'"),
        ("concat(x,0,y)==y", "line 7, column 10: expected a name, found '0'"),
        ("x=y", "line 7, column 2: expected '==', found '='"),
        ("==x", "line 7, column 1: expected a name, found '=='"),
        ("relu()==x", "line 7, column 6: expected a name, found ')'"),
        ("smul(x,1000000000000)==x", "line 7, column 8: expected a name, found '1"),
        ("relu(" * 60 + "x" + ")" * 60 + "==x", "nested more than 50 deep"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, message: str) -> None:
    with pytest.raises(FormatError) as error:
        parse(text, 7)
    assert message in str(error.value)


# -- types --


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("matmul(x,y)==z", [2, 2, 2]),
        ("relu(x)==split_0(3,relu(concat(3,x,y)))", [4, 4]),
        ("smul(x,s)==ewmul(x,smul(Iewmul,s))", [2, 0]),
        ("conv2d(1,1,0,0,x,w)==y", [4, 4, 4]),
    ],
)
def test_ranks_are_inferred(text: str, shapes: list[int]) -> None:
    ranks = {v.name: len(v.shape) for v in typed(parse(text))[0].variables()}
    assert list(ranks.values()) == shapes


def test_free_sizes_differ_and_forced_ones_agree() -> None:
    """Equal sizes would hide mistakes; a matrix that is added to its transpose has to be square."""
    for equation in typed(parse("matmul(ewadd(x,transpose(x)),matmul(y,z))==w")):
        shapes = {v.name: v.shape for v in equation.variables()}
        assert shapes["x"][0] == shapes["x"][1] == shapes["y"][0]
        assert len({*shapes["y"], shapes["z"][1]}) == 3
        assert shapes["w"] == (shapes["x"][0], shapes["z"][1])


def test_kernels_have_a_middle_and_weights_may_divide_the_channels() -> None:
    (equation, *_) = typed(
        parse("concat(1,conv2d(1,1,0,0,x,v),conv2d(1,1,0,0,y,w))==conv2d(1,1,0,0,concat(1,x,y),concat(0,v,w))")
    )
    shapes = {v.name: v.shape for v in equation.variables()}
    assert all(length % 2 for length in shapes["v"][2:])
    assert shapes["v"][1] == shapes["w"][1] == shapes["x"][1] == shapes["y"][1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("softmax(x)==x", "there is no operator 'softmax'"),
        ("relu(x,y)==x", "relu takes 0 numbers and 1 operands"),
        ("concat(0,x)==x", "concat takes 1 numbers and two or more operands"),
        ("ewadd(x,matmul(x,y))==conv2d(1,1,0,0,x,w)", "rank"),
        ("split_0(1,concat(0,x,y))==x", "there is no concat along axis 1 to undo"),
        ("concat(0,x,y)==x", "zero or less"),
        ("transpose(concat(2,x,y))==x", "axis 2 of a tensor of rank 2"),
        ("conv2d(0,1,0,0,x,w)==y", "stride 0"),
        ("conv2d(1,1,0,9,x,w)==y", "activation 9"),
        ("conv2d(1,1,1,0,x,Iconv(3,3))==x", "2 larger than itself"),
        ("ewadd(x,poolavg(3,3,2,2,0,x))==x", "keep the size"),
        ("conv2d(1,1,0,0,x,Cpool(900,900))==x", "no fitting sizes"),
    ],
)
def test_ill_typed_equations_say_why(text: str, reason: str) -> None:
    with pytest.raises(IllTyped) as error:
        typed(parse(text))
    assert reason in str(error.value)


def test_every_typed_equation_can_be_translated() -> None:
    """Strides, both paddings, all activations: the shapes inferred here are those of the operator table."""
    for text in (
        "conv2d(2,1,0,1,x,w)==y", "conv2d(1,2,1,3,x,w)==y", "poolmax(3,2,2,2,1,x)==y", "poolavg(2,3,1,2,0,x)==y",
        "conv2d(1,1,0,0,x,enlarge(5,5,w))==y", "split_1(0,conv2d(2,2,0,2,concat(0,x,y),concat(0,v,w)))==z",
        "split_1(1,transpose(concat(0,x,concat(0,y,z))))==w", "tanh(concat(1,x,y,z))==sigmoid(w)",
    ):  # fmt: skip
        for equation in typed(parse(text)):
            translate(equation)


# -- values --


@pytest.mark.parametrize(
    ("text", "true"),
    [
        ("poolavg(3,3,1,1,0,x)==conv2d(1,1,0,0,x,Cpool(3,3))", True),
        ("poolavg(3,3,1,1,0,x)==conv2d(1,1,0,0,x,Cpool(3,1))", False),
        ("relu(poolmax(3,3,1,1,0,x))==poolmax(3,3,1,1,0,relu(x))", True),  # true of an order, not of any function
        ("tanh(poolmax(3,3,1,1,0,x))==poolmax(3,3,1,1,0,relu(x))", False),
        ("relu(smul(relu(x),s))==smul(relu(x),s)", False),  # true for half of all scalars
        ("relu(poolmax(3,3,1,1,0,x))==poolmax(3,3,1,1,0,x)", False),  # true of most random values
        ("relu(relu(x))==relu(x)", True),
        ("tanh(tanh(x))==tanh(x)", False),
        ("ewmul(x,ewadd(y,z))==ewadd(ewmul(x,y),ewmul(x,z))", True),
        ("matmul(x,y)==matmul(y,x)", False),
        ("conv2d(1,1,0,0,conv2d(1,1,0,0,x,v),w)==conv2d(1,1,0,0,conv2d(1,1,0,0,x,w),v)", False),
    ],
)
def test_truth_is_decided_exactly(text: str, true: bool) -> None:
    assert all(holds(translate(t), seed) == true for seed, t in enumerate(typed(parse(text))))


# -- proofs --


@pytest.mark.parametrize(
    "text",
    [
        "smul(ewadd(x,ewmul(x,y)),s)==ewmul(x,ewadd(smul(Iewmul,s),smul(y,s)))",
        "transpose(matmul(transpose(x),smul(y,s)))==smul(matmul(transpose(y),x),s)",
        "matmul(concat(1,x,y),concat(0,u,v))==ewadd(matmul(y,v),matmul(x,u))",
        "matmul(concat(0,Imatmul,x),smul(y,s))==concat(0,smul(y,s),matmul(smul(x,s),y))",
        "conv2d(2,1,0,2,concat(0,x,y),concat(0,v,w))=="
        "concat(1,concat(0,conv2d(2,1,0,2,x,v),conv2d(2,1,0,2,y,v)),concat(0,conv2d(2,1,0,2,x,w),conv2d(2,1,0,2,y,w)))",
        "conv2d(1,1,0,3,concat(1,x,y),concat(0,v,w))==concat(1,tanh(conv2d(1,1,0,0,x,v)),conv2d(1,1,0,3,y,w))",
        "conv2d(1,1,0,0,x,smul(enlarge(5,5,ewadd(v,w)),s))=="
        "ewadd(smul(conv2d(1,1,0,0,x,w),s),conv2d(1,1,0,0,smul(x,s),v))",
        "conv2d(1,1,0,2,concat(1,x,y),Cpool(3,3))==relu(concat(1,poolavg(3,3,1,1,0,x),poolavg(3,3,1,1,0,y)))",
        "conv2d(1,1,0,1,x,concat(0,Iconv(3,3),w))==sigmoid(concat(1,x,conv2d(1,1,0,0,x,w)))",
        "conv2d(1,1,0,0,x,poolavg(3,3,1,1,0,Iconv(3,3)))==poolavg(3,3,1,1,0,x)",
        "enlarge(5,5,enlarge(3,3,w))==enlarge(5,5,w)",
        "conv2d(1,1,0,0,Iconv(3,3),conv2d(1,1,0,2,Iconv(3,3),w))==relu(enlarge(3,3,w))",
        "split_1(0,transpose(relu(concat(1,x,y))))==relu(transpose(y))",
        "concat(0,concat(1,u,v),concat(1,x,y))==concat(1,concat(0,u,x),concat(0,v,y))",
        "poolmax(3,3,1,1,0,concat(0,relu(x),relu(y)))==relu(concat(0,poolmax(3,3,1,1,0,x),poolmax(3,3,1,1,0,y)))",
        "poolavg(2,2,1,1,1,conv2d(1,1,1,0,x,smul(w,s)))==conv2d(1,1,1,0,smul(poolavg(2,2,1,1,1,x),s),w)",
    ],
)
def test_true_equations_are_proved(text: str) -> None:
    (verdict,) = check_lines([text]).verdicts
    assert verdict.status is Status.PROVED, verdict.reason
    assert verdict.rules


@pytest.mark.parametrize(
    "text",
    [
        "matmul(x,matmul(y,x))==matmul(matmul(x,x),y)",
        "conv2d(1,1,0,0,relu(x),w)==relu(conv2d(1,1,0,0,x,w))",
        "poolavg(3,3,1,1,0,conv2d(1,1,0,0,x,w))==conv2d(1,1,0,0,poolavg(3,3,1,1,0,x),w)",
        "conv2d(2,2,0,0,x,enlarge(3,3,w))==conv2d(2,2,0,0,x,enlarge(3,3,v))",
        "conv2d(2,2,0,0,x,Iconv(3,3))==poolavg(3,3,2,2,0,x)",
        "concat(0,x,y)==concat(0,y,x)",
        "relu(ewadd(x,y))==ewadd(relu(x),relu(y))",
        "relu(smul(x,s))==smul(relu(x),s)",
    ],
)
def test_false_equations_are_not_proved(text: str) -> None:
    assert prove(_graph(text)) is None
    assert _status(text) is Status.FALSE


def test_the_rules_that_lead_to_one_form_exist() -> None:
    assert len(ALL.only(*TOWARDS_ONE_FORM)) == len(TOWARDS_ONE_FORM)


# -- reports --

MIXED = [
    "# equations of every kind",
    "relu(relu(x))==relu(x)",
    "",
    "ewadd(x,y)==ewadd(y,x)",
    "relu(ewmul(x,x))==ewmul(x,x)",  # no rule knows that squares aren't negative
    "ewadd(x,y)==ewmul(x,y)",
    "softmax(x)==x",
    "relu(x==x",
]
COUNTS = {"proved": 2, "true_unproved": 1, "false": 1, "untyped": 1, "malformed": 1}


def _file(folder: Path, lines: list[str]) -> str:
    path = folder / "equations.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def test_counts_and_reasons(tmp_path: Path) -> None:
    report = check_file(_file(tmp_path, MIXED))
    assert {status.value: report.count(status) for status in Status} == COUNTS
    assert [v.line for v in report.verdicts] == [2, 4, 5, 6, 7, 8]
    assert [v.text for v in report.verdicts] == [line for line in MIXED if line and line[0] != "#"]
    reasons = [v.reason for v in report.verdicts]
    assert reasons[0].startswith("for x ")
    assert "no proof within the limits" in reasons[2]
    assert "differ for random values of x " in reasons[3]
    assert "no operator 'softmax'" in reasons[4]
    assert "line 8, column 7" in reasons[5]
    assert report.verdicts[0].rules == ("relu-twice",)


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([_file(tmp_path, MIXED), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {name: shown[name] for name in COUNTS} == COUNTS
    assert shown["total"] == 6
    assert shown["seconds"] > 0
    assert [e["status"] for e in shown["equations"]] == [
        "proved", "proved", "true_unproved", "false", "untyped", "malformed",
    ]  # fmt: skip
    assert shown["equations"][1].keys() == {"line", "text", "status", "reason", "rules"}
    assert shown["equations"][1]["rules"] == ["add-commute"]


def test_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([_file(tmp_path, MIXED)]) == 0
    out = capsys.readouterr().out
    counts = dict(line.split() for line in out.split("\n\n")[0].splitlines())
    assert {name: int(counts[name]) for name in COUNTS} == COUNTS
    assert "line 6: false: " in out
    assert "line 2" not in out


def test_a_file_of_one_equation_on_windows(tmp_path: Path) -> None:
    path = tmp_path / "crlf.txt"
    path.write_bytes(b"relu(relu(x))==relu(x)\r\n")
    assert [v.text for v in check_file(path).verdicts] == ["relu(relu(x))==relu(x)"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{dir}/absent.txt"], "absent.txt"),
        (["{dir}"], "directory"),
        (["{dir}/binary"], "isn't UTF-8 text"),
        (["{dir}/good.txt", "--fast"], "unrecognized arguments: --fast"),
        ([], "FILE"),
    ],
)
def test_bad_input(arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "good.txt").write_text("x==x\n")
    try:
        code = main([argument.format(dir=tmp_path) for argument in arguments])
    except SystemExit as end:
        code = end.code  # type: ignore[assignment]
    assert code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert message in err


def test_module_is_runnable(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tvm_eqsat.verify.equations", _file(tmp_path, ["relu(relu(x))==relu(x)"]), "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(run.stdout.splitlines()[-1])["proved"] == 1


def test_what_taso_found_is_proved() -> None:
    """Equations that TASO found by enumerating programs."""
    folder = os.environ.get("TVM_EQSAT_DATA")
    path = Path(folder or "") / "taso" / "equations.txt"
    if not folder or not path.is_file():
        pytest.skip("TVM_EQSAT_DATA doesn't name a folder with taso/equations.txt")
    report = check_file(path)
    assert report.count(Status.MALFORMED) == report.count(Status.TRUE_UNPROVED) == 0
    assert report.count(Status.PROVED) >= 0.95 * len(report.verdicts)
