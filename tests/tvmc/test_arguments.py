"""Shapes, targets, tasks and trackers as text."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from tvm.target.codegen import llvm_get_system_cpu

from tvm_eqsat.cost.threads import available_cores
from tvmc.errors import TVMCException
from tvmc.pass_config import pass_context
from tvmc.shape_parser import parse_shape_string
from tvmc.target import is_generic, num_cores, runs_here, target_from_cli
from tvmc.tasks import filter_tasks
from tvmc.tracker import tracker_host_port_from_cli


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("data:[1,3,224,224]", {"data": [1, 3, 224, 224]}),
        ("a:[1] b:[2, 3]", {"a": [1], "b": [2, 3]}),
        ("a : [ 1 , -1 ], b:[]", {"a": [1, -1], "b": []}),
        ("serving/input.1:0:[1,5]", {"serving/input.1:0": [1, 5]}),
    ],
)
def test_shapes(text: str, shapes: dict[str, list[int]]) -> None:
    assert parse_shape_string(text) == shapes


@pytest.mark.parametrize("text", ["", "data", "data:1,3", "data:[1,x]", "a:[1] b", "[1,2]", "a:[1,]", "a:[1] a:[2]"])
def test_malformed_shapes(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="--input-shapes"):
        parse_shape_string(text)


def config(text: str | None, **options: dict[str, str]) -> dict[str, Any]:
    return dict(json.loads(str(target_from_cli(text, options))))


def test_target_strings_of_older_releases() -> None:
    found = config('llvm -mcpu=skylake -num-cores=3 -mattr=+avx2,+fma -fast-math -device "a b"')
    assert (found["kind"], found["mcpu"], found["num-cores"]) == ("llvm", "skylake", 3)
    assert found["mattr"] == ["+avx2", "+fma"]
    assert found["fast-math"]
    assert found["device"] == "a b"


def test_target_defaults_to_this_machine() -> None:
    target = target_from_cli(None)
    assert target.attrs["mcpu"] == llvm_get_system_cpu()
    assert num_cores(target) == available_cores()
    assert runs_here(target) and not is_generic(target)
    assert is_generic(target_from_cli("llvm"))
    assert not runs_here(target_from_cli("llvm -mtriple=riscv64-linux-gnu"))


def test_target_as_json_file_and_tag(tmp_path: Path) -> None:
    text = '{"kind": "llvm", "mcpu": "skylake", "num-cores": 2}'
    file = tmp_path / "target.json"
    file.write_text(text)
    assert config(text) == config(str(file)) == config("llvm -mcpu=skylake -num-cores=2")
    assert config("nvidia/nvidia-a100")["arch"] == "sm_80"


def test_target_with_host() -> None:
    found = config("cuda -arch=sm_90 -libs=cublas,cudnn, llvm -mcpu=skylake")
    assert (found["kind"], found["arch"], found["libs"]) == ("cuda", "sm_90", ["cublas", "cudnn"])
    assert found["host"]["mcpu"] == "skylake"
    assert config("cuda,llvm")["host"]["kind"] == "llvm"


def test_single_target_options() -> None:
    assert config("llvm -mcpu=skylake", llvm={"mcpu": "znver3", "num-cores": "7"})["mcpu"] == "znver3"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope", "there is no target 'nope'. Choices: .*cuda.*llvm"),
        ('{"kind": "nope"}', "there is no target 'nope'. Choices: .*cuda.*llvm"),
        ("llvm -nope=1", "target llvm has no option 'nope'; it has: .*mcpu.*num-cores"),
        ("llvm -num-cores=many", "-num-cores=many is not valid: it takes a whole number"),
        ("llvm -fast-math=perhaps", "-fast-math=perhaps is not valid: it takes 0 or 1"),
        ("llvm mcpu=skylake", "option 'mcpu=skylake' doesn't begin with '-'"),
        ("llvm -mcpu=skylaek", "knows no CPU 'skylaek'"),
        ("llvm -mattr='", "can't be parsed"),
        ("llvm, llvm, llvm", "names 3 targets"),
        ("", "names 0 targets"),
        ('{"kind": ', "isn't valid JSON"),
        ('{"kind": "llvm", "num-cores": "2"}', "Option 'num-cores': expected type 'int'"),
    ],
)
def test_wrong_targets(text: str, message: str) -> None:
    with pytest.raises(TVMCException, match=message):
        target_from_cli(text)


def test_option_of_another_target() -> None:
    with pytest.raises(TVMCException, match="--target-cuda-arch was given, but the target is not cuda"):
        target_from_cli("llvm", {"cuda": {"arch": "sm_90"}})


@pytest.mark.parametrize(
    ("expression", "tasks"),
    [("all", "abcd"), ("2", "c"), ("0,2", "ac"), ("1-2", "bc"), ("-1", "ab"), ("2-", "cd"), ("3,1-2,1", "bcd")],
)
def test_tasks(expression: str, tasks: str) -> None:
    assert filter_tasks("abcd", expression) == (list(tasks), False)


def test_list_of_tasks() -> None:
    assert filter_tasks("abcd", "list") == (list("abcd"), True)


@pytest.mark.parametrize("expression", ["", "4", "x", "2-1", "0-4", "1--2"])
def test_wrong_tasks(expression: str) -> None:
    with pytest.raises(TVMCException, match="--tasks"):
        filter_tasks("abcd", expression)


def test_tracker() -> None:
    assert tracker_host_port_from_cli("10.0.0.1") == ("10.0.0.1", 9090)
    assert tracker_host_port_from_cli("host:1234") == ("host", 1234)
    for text in ("", ":9090", "host:port", "host:99999"):
        with pytest.raises(TVMCException, match="--rpc-tracker"):
            tracker_host_port_from_cli(text)


def test_pass_options() -> None:
    context = pass_context(2, ["tirx.disable_vectorize=true", "relax.FuseOps.max_depth=3"], ["FuseOps"], [])
    assert context.opt_level == 2
    assert context.config["tirx.disable_vectorize"]
    assert context.config["relax.FuseOps.max_depth"] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tirx.disable_vectorize", "not of the form name=value"),
        ("tirx.nope=1", "there is no pass option 'tirx.nope'. Choices: .*tirx.disable_vectorize"),
        ("tirx.disable_vectorize=maybe", "'maybe' is not a value of type bool"),
        ("relax.FuseOps.max_depth=deep", "'deep' is not a value of type int"),
    ],
)
def test_wrong_pass_options(text: str, message: str) -> None:
    with pytest.raises(TVMCException, match=message):
        pass_context(3, [text], [], [])
