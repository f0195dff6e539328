"""The kernel database, when files are damaged, foreign or in the way."""

from __future__ import annotations

import errno
import json
import os

import pytest

from tests.cost.builders import TARGET
from tests.cost.test_store import OTHER, SETTINGS, add, kernel, record, seconds, stock, times
from tvm_eqsat.cost.store import KernelStore, copy_records
from tvm_eqsat.cost.store.format import MEASUREMENTS, RECORDS, WORKLOADS
from tvm_eqsat.errors import MeasurementError, OptionError


@pytest.mark.parametrize("name", [WORKLOADS, RECORDS, MEASUREMENTS])
def test_half_a_line_is_ended_counted_and_kept(tmp_path, name):
    add(KernelStore(tmp_path, TARGET), record([1e-3]))
    path = tmp_path / name
    whole = path.read_bytes()
    for cut in (1, len(whole) // 2, len(whole) - 2):
        path.write_bytes(whole + whole[:cut])
        store = KernelStore(tmp_path, TARGET)
        assert (store.skipped, seconds(store)) == (1, 1e-3)
        add(store, record([2e-3], OTHER))
        for each in (store, KernelStore(tmp_path, TARGET)):
            assert (each.skipped, seconds(each), seconds(each, OTHER)) == (1, 1e-3, 2e-3)
        assert path.read_bytes().startswith(whole + whole[:cut] + b"\n")
        for other in (WORKLOADS, RECORDS, MEASUREMENTS):
            (tmp_path / other).write_bytes((tmp_path / other).read_bytes().split(b"\n")[0] + b"\n")


def test_a_line_that_lacks_only_its_end_is_whole(tmp_path):
    add(KernelStore(tmp_path, TARGET), record([1e-3]))
    for name in (WORKLOADS, RECORDS, MEASUREMENTS):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-1])
    store = KernelStore(tmp_path, TARGET)
    add(store, record([2e-3], OTHER))
    assert (store.skipped, seconds(store), seconds(store, OTHER)) == (0, 1e-3, 2e-3)
    assert len(stock(tmp_path)) == 2


@pytest.mark.parametrize("name", [WORKLOADS, RECORDS, MEASUREMENTS])
@pytest.mark.parametrize(
    "line", [b"", b"garbage", b"[1,2]", b"\xff\x00", b"[" * 100_000, b'["7","%%%"]', b'{"host":1}']
)
def test_garbage_is_skipped_counted_and_kept(tmp_path, name, line):
    path = tmp_path / name
    path.write_bytes(line + b"\n")
    store = KernelStore(tmp_path, TARGET)
    add(store, record([1e-3]), record([2e-3], OTHER))
    for each in (store, KernelStore(tmp_path, TARGET)):
        assert times(each.get_all_tuning_records()) == [[1e-3], [2e-3]]
        assert seconds(each) == 1e-3 and each.skipped == (line != b'["7","%%%"]' or name != WORKLOADS)
    assert path.read_bytes().startswith(line + b"\n")


def test_what_this_tvm_cannot_load_is_skipped_and_counted(tmp_path, caplog):
    add(KernelStore(tmp_path, TARGET), record([1e-3]), record([2e-3], tile=2), record([3e-3], tile=8))
    first, *others = (tmp_path / RECORDS).read_text().splitlines()
    (tmp_path / RECORDS).write_text("\n".join([first.replace("GetSBlock", "GetFuture"), *others, ""]))
    store = KernelStore(tmp_path, TARGET)
    assert store.skipped == 0
    for _ in range(2):
        assert times(store.get_top_k(store.commit_workload(kernel().mod), 2)) == [[2e-3], [3e-3]]
    assert store.skipped == 1 and caplog.text.count("can't load") == 1
    shash, _ = json.loads((tmp_path / WORKLOADS).read_text())
    (tmp_path / WORKLOADS).write_text(json.dumps([shash, "AAAA"]) + "\n")
    store = KernelStore(tmp_path, TARGET)
    assert not store.has_workload(kernel().mod)
    add(store, record([4e-3]))
    assert times(store.get_all_tuning_records()) == [[4e-3]]


def test_files_that_were_replaced_are_read_again(tmp_path):
    store = KernelStore(tmp_path, TARGET)
    add(store, record([1e-3]), record([2e-3], OTHER))
    for name in (WORKLOADS, RECORDS):
        (tmp_path / name).unlink()
    add(store, record([3e-3], OTHER))
    assert (len(store), seconds(store), seconds(store, OTHER)) == (1, None, 3e-3)
    assert times(stock(tmp_path).get_all_tuning_records()) == [[3e-3]]


def test_a_folder_that_cannot_be_used_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="can't be used as a kernel database"):
        KernelStore(tmp_path / "file", TARGET)
    (tmp_path / "folder" / RECORDS).mkdir(parents=True)
    with pytest.raises(OptionError, match="can't be used as a kernel database"):
        KernelStore(tmp_path / "folder", TARGET)


def test_a_full_disk_is_an_error_and_damages_nothing(tmp_path, monkeypatch):
    store = KernelStore(tmp_path, TARGET)
    store.commit_workload(kernel().mod)
    write = os.write

    def half(file, data):
        if len(data) < 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(MeasurementError, match="No space left"):
        store.commit_tuning_record(record([1e-3]))
    monkeypatch.undo()
    store.commit_tuning_record(record([2e-3]))
    assert seconds(store) == 2e-3 and len(stock(tmp_path)) == 1


# -- copies -----------------------------------------------------------------------------------------------------------


def test_a_copy_repairs(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    add(KernelStore(old, TARGET, settings=SETTINGS), record([1e-3]), record([2e-3], OTHER), record([3e-3], OTHER))
    records = [json.loads(line) for line in (old / RECORDS).read_text().splitlines()]
    text = "\n".join(["garbage", *(json.dumps([place + 1, body]) for place, body in records), "[0,"])
    (old / RECORDS).write_text(text)
    (old / WORKLOADS).write_text("garbage\n" + (old / WORKLOADS).read_text() + "[0,")
    with pytest.raises(Exception, match=r"garbage|EOF"):  # whichever of its threads comes first
        stock(old)
    assert copy_records(old, new) == (2, 3, 4)
    assert (old / RECORDS).read_text() == text
    assert times(stock(new).get_all_tuning_records()) == [[1e-3], [2e-3], [3e-3]]
    assert times(KernelStore(new, TARGET).get_all_tuning_records()) == [[1e-3], [2e-3], [3e-3]]


def test_a_copy_keeps_provenance_and_adds_nothing_twice(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    add(KernelStore(old, TARGET, settings=SETTINGS), record([1e-3]), record([5e-3], OTHER))
    add(KernelStore(old, TARGET, host="another"), record([2e-3], OTHER))
    add(KernelStore(new, TARGET), record([3e-3], OTHER))
    assert [copy_records(old, new) for _ in range(2)] == [(1, 3, 0), (0, 0, 0)]
    store = KernelStore(new, TARGET, settings=SETTINGS, trust_unknown_host=False)
    assert (seconds(store), seconds(store, OTHER), store.foreign) == (1e-3, 3e-3, 1)
    assert len(stock(new)) == 4
    with pytest.raises(OptionError, match="holds no MetaSchedule database"):
        copy_records(tmp_path, new)
