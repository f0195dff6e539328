"""The kernel database, when several processes add to it and some of them are killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time

import pytest

from tests.cost.builders import MACHINE, TARGET
from tests.cost.test_store import MATMUL, OTHER, kernel, record, stock
from tvm_eqsat.cost.database import DatabasePricer
from tvm_eqsat.cost.store import KernelStore, Settings
from tvm_eqsat.cost.store.format import MEASUREMENTS, RECORDS, WORKLOADS
from tvm_eqsat.cost.store.lines import LineFile, locked

KERNELS = (MATMUL, OTHER)
# Long enough that a write of it takes several pages, between which the kernel may end a killed process.
REPEATS = 1000


def commit(folder, name, number, acknowledge=lambda i: None, repeats=1):
    """Add records, known by their latency; both processes add the kernels."""
    store = KernelStore(folder, TARGET, settings=Settings(name))
    for i in range(number):
        item = record([latency(name, i)] * repeats, KERNELS[(i + name) % 2])
        store.commit_workload(item.workload.mod)
        store.commit_tuning_record(item)
        acknowledge(i)


def latency(name, i):
    return name + i * 1e-4 + 1e-3


@pytest.fixture
def start():
    """Start a writer, in which TVM is imported already."""
    context = multiprocessing.get_context("fork")
    for mod in KERNELS:
        kernel(mod)  # once for all writers

    def run(*arguments):
        process = context.Process(target=commit, args=arguments, daemon=True)
        process.start()
        return process

    yield run
    for process in multiprocessing.active_children():
        process.kill()
        process.join()


def found(folder):
    return {float(r.run_secs[0]) for r in stock(folder).get_all_tuning_records()}


def test_processes_that_add_at_once_lose_and_damage_nothing(tmp_path, start):
    names, number = (1, 2), 200
    writers = [start(tmp_path, name, number) for name in names]
    reader_saw = []
    while any(writer.is_alive() for writer in writers):
        pricer = DatabasePricer(tmp_path, TARGET, MACHINE) if (tmp_path / RECORDS).is_file() else None
        reader_saw.append((pricer.skipped, pricer.foreign) if pricer else (0, 0))
        time.sleep(0.02)
    assert [writer.exitcode for writer in writers] == [0, 0]
    # A reader takes no lock: it may see half a line, but never a record whose kernel or provenance is still missing.
    assert all(skipped <= 3 and foreign == 0 for skipped, foreign in reader_saw)
    assert len((tmp_path / WORKLOADS).read_text().splitlines()) == len(KERNELS)
    assert found(tmp_path) == {latency(name, i) for name in names for i in range(number)}
    for name in names:
        store = KernelStore(tmp_path, TARGET, settings=Settings(name))
        assert (len(store), store.skipped, store.foreign) == (len(names) * number, 0, number)
        for i in range(2):
            assert store.best(kernel(KERNELS[(i + name) % 2]).hash) == (latency(name, i), None, number // 2)


def test_a_running_store_sees_what_others_add(tmp_path, start):
    store = KernelStore(tmp_path, TARGET)
    start(tmp_path, 1, 4).join()
    assert store.best(kernel().hash) is None and not store.has_workload(kernel().mod)
    store.refresh()
    assert store.best(kernel().hash).trials == 2 and store.has_workload(kernel().mod)
    store.commit_tuning_record(record([1e-4]))
    assert store.best(kernel().hash) == (1e-4, None, 3)
    assert len(stock(tmp_path)) == 5


def test_a_reader_that_is_overtaken_by_a_writer(tmp_path, monkeypatch):
    writer, reader = KernelStore(tmp_path, TARGET), KernelStore(tmp_path, TARGET, trust_unknown_host=False)
    read = LineFile.read

    def overtaken(file):
        lines = read(file)
        if items:
            writer.commit_tuning_record(items.pop())
        return lines

    items = [record([1e-3])]
    monkeypatch.setattr(LineFile, "read", overtaken)
    for _ in range(2):  # the second one has time
        reader.refresh()
        assert (reader.skipped, reader.foreign) == (0, 0)
    assert reader.best(kernel().hash) == (1e-3, None, 1)


def test_killed_writers_lose_no_finished_trial(tmp_path, start):
    rng = random.Random(0)
    context = multiprocessing.get_context("fork")
    finished = set()
    for name in range(1, 21):
        receiver, sender = context.Pipe(duplex=False)
        writer = start(tmp_path, name, 10_000, sender.send, REPEATS)
        sender.close()
        receiver.poll(10)  # it has begun
        time.sleep(rng.random() * 0.05)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        try:
            while True:
                finished.add(latency(name, receiver.recv()))
        except EOFError:
            pass
        store = KernelStore(tmp_path, TARGET)
        kept = list(recorded(tmp_path))
        assert finished <= set(kept) and len(store) == len(kept) and store.skipped <= name
    assert len(finished) >= 20
    store.commit_tuning_record(record([1e-4]))
    assert store.best(kernel().hash).seconds == 1e-4
    records = {float(r.run_secs[0]) for r in KernelStore(tmp_path, TARGET).get_all_tuning_records()}
    assert finished <= records and len(records) <= len(finished) + 21  # a trial may be written and not yet told of


def recorded(folder):
    """The first latency of each readable record, read apart from the store."""
    for line in (folder / RECORDS).read_bytes().split(b"\n"):
        try:
            yield json.loads(line)[1][1][0]
        except ValueError:
            continue


@pytest.mark.parametrize("name", [WORKLOADS, RECORDS, MEASUREMENTS])
def test_a_writer_killed_at_any_byte(tmp_path, name):
    """What is left of a commit after any number of bytes of its last write, and of those before it."""
    store = KernelStore(tmp_path, TARGET)
    files = [WORKLOADS, MEASUREMENTS, RECORDS]
    store.commit_tuning_record(record([2e-3], OTHER))
    before = {file: (tmp_path / file).read_bytes() for file in files}
    store.commit_tuning_record(record([1e-3]))
    after = {file: (tmp_path / file).read_bytes() for file in files}
    done = files[: files.index(name)]
    added = len(after[name]) - len(before[name])
    for cut in sorted({0, 1, added // 3, added - 2, added - 1, added}):
        for file in files:
            end = len(before[name]) + cut if file == name else None
            text = after[file][:end] if file in (*done, name) else before[file]
            (tmp_path / file).write_bytes(text)
        store = KernelStore(tmp_path, TARGET)
        assert store.best(kernel(OTHER).hash).seconds == 2e-3
        assert (store.best(kernel().hash) is not None) == (name == RECORDS and cut >= added - 1)
        store.commit_tuning_record(record([5e-4]))
        assert KernelStore(tmp_path, TARGET).best(kernel().hash).seconds == 5e-4
        if cut in (0, added - 1, added):
            assert 5e-4 in found(tmp_path)


def test_a_line_that_is_just_being_written_is_read_when_it_is_whole(tmp_path):
    path = tmp_path / "lines"
    lines = LineFile(path)
    seen = []
    for part in (b"[1]\n[", b"2", b"]", b"\n", b"[3]", b"garbage", b"\n[4]\n", b'"\xc3', b'\xa4"\n'):
        with path.open("ab") as file:
            file.write(part)
        seen += [line.value for line in lines.read()]
        assert list(lines.read()) == []
    assert seen == [[1], [2], [3], [4], "ä"]
    assert lines.at(4, 3) == [2]


def test_the_lock_of_a_dead_process_is_free(tmp_path):
    child = os.fork()
    if not child:
        with locked(tmp_path):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    with locked(tmp_path):
        pass
