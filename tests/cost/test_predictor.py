"""The learned pricer, on laws that are made up."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import relax
from tvm.relax import op
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms

from tests.cost.builders import MACHINE, TARGET, module
from tvm_eqsat.cost.database import index_of
from tvm_eqsat.cost.lower import Kernel, kernels
from tvm_eqsat.cost.predict import Predictor, Records, Sample
from tvm_eqsat.cost.predict.predictor import MINIMUM
from tvm_eqsat.cost.pricer import ROOFLINE_UNCERTAINTY, RooflinePricer
from tvm_eqsat.cost.roofline import seconds as roofline
from tvm_eqsat.cost.tile_fit import TILE_FEATURES
from tvm_eqsat.errors import FormatError, OptionError


def matmuls(shapes):
    """A kernel for each product ``n × k`` by ``k × m``."""
    builder = relax.BlockBuilder()
    types = [[relax.TensorType(shape, "float32") for shape in ((n, k), (k, m))] for n, k, m in shapes]
    params = [(relax.Var(f"x{i}", x), relax.Var(f"w{i}", w)) for i, (x, w) in enumerate(types)]
    with builder.function("main", [p for pair in params for p in pair]):
        with builder.dataflow():
            out = builder.emit_output(relax.Tuple([builder.emit(op.matmul(x, w)) for x, w in params]))
        builder.emit_func_output(out)
    return [k for k in kernels(builder.get(), TARGET) if k.mod is not None]


RNG = np.random.default_rng(0)
KERNELS = matmuls([tuple(int(d) for d in RNG.integers(16, 200, 3)) for _ in range(90)])
RNG.shuffle(KERNELS)
KNOWN, ASKED = KERNELS[:60], KERNELS[60:]
(FAR,) = kernels(module(lambda e, x: e(op.nn.softmax(x)), (64, 4096)), TARGET)


def law(kernel, trials=64):
    """Ragged rows take three times as long, deep sums less, and few trials find less."""
    width, depth = kernel.work.width, kernel.work.depth
    return roofline(MACHINE, kernel.work) * (3 if width % 4 else 1.2) * (100 / depth) ** 0.3 * (1 + 2 / trials)


def error(predictor, trials=64):
    found = [predictor.price(k).seconds - MACHINE.added(k.work.carried) for k in ASKED]
    return float(np.median([abs(f / law(k, trials) - 1) for f, k in zip(found, ASKED, strict=True)]))


@pytest.fixture(scope="module")
def trained():
    predictor = Predictor(MACHINE)
    predictor.fit(KNOWN, [law(k) for k in KNOWN])
    return predictor


def test_a_law_is_learned(trained):
    assert trained.source == "predicted" and trained.kernels == len(KNOWN)
    assert {trained.price(k).source for k in ASKED} == {"predicted"}
    assert error(Predictor(MACHINE)) > 0.4
    assert error(trained) < 0.15  # 60 kernels, and the law depends on two of seventy numbers


def test_what_decides_is_told(trained):
    shares = trained.importance
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    sizes = ("width", "inner_power", "inner_fit", "inner", "roofline", "depth", "reduced", *TILE_FEATURES)
    assert sum(shares[n] for n in sizes) > 0.4


def test_uncertainty_grows_away_from_the_data(trained):
    near = [trained.uncertainty(k) for k in ASKED]
    (huge,) = matmuls([(2048, 8192, 4096)])
    assert 0 < np.median(near) < 0.5
    assert trained.uncertainty(huge) > 1.5 * np.median(near)
    assert trained.uncertainty(FAR) > 1.5 * np.median(near)


def test_uncertainty_grows_with_noise(trained):
    noisy = Predictor(MACHINE)
    noise = np.exp(np.random.default_rng(1).normal(0, 0.5, len(KNOWN)))
    noisy.fit(KNOWN, [law(k) * n for k, n in zip(KNOWN, noise, strict=True)])
    assert np.median([noisy.uncertainty(k) for k in ASKED]) > 2 * np.median([trained.uncertainty(k) for k in ASKED])


def test_few_trials_are_known_to_find_less():
    predictor = Predictor(MACHINE)
    predictor.fit(*zip(*[(k, law(k, n), n) for k in KNOWN for n in (4, 16, 64)], strict=True))
    prices = {}
    for trials in (4, 16, 64, 1000):
        predictor.trials = trials
        prices[trials] = [predictor.price(k).seconds - MACHINE.added(k.work.carried) for k in ASKED]
    assert all(a >= b >= c for a, b, c in zip(prices[4], prices[16], prices[64], strict=True))
    assert np.median(np.divide(prices[4], prices[64])) == pytest.approx(1.5 / 1.03125, rel=0.15)
    assert prices[1000] == prices[64]  # what nobody has tried isn't made up


@pytest.mark.parametrize("count", [0, MINIMUM - 1])
def test_too_few_kernels_leave_the_roofline(count):
    predictor = Predictor(MACHINE)
    predictor.fit(KNOWN[:count], [law(k) for k in KNOWN[:count]])
    assert predictor.source == "roofline" and predictor.importance == {}
    assert predictor.price(ASKED[0]) == RooflinePricer(MACHINE).price(ASKED[0])
    assert predictor.uncertainty(ASKED[0]) == ROOFLINE_UNCERTAINTY


def test_what_is_not_tir_has_the_price_of_the_roofline(trained):
    foreign = Kernel("somebody's", 1, KNOWN[0].work)
    assert trained.price(foreign).source == "roofline"
    assert trained.uncertainty(foreign) == ROOFLINE_UNCERTAINTY


def test_equal_data_give_equal_predictions(trained):
    again = Predictor(MACHINE)
    again.fit(KNOWN, [law(k) for k in KNOWN])
    assert [again.price(k) for k in ASKED] == [trained.price(k) for k in ASKED]


def test_new_data_replace_old():
    predictor = Predictor(MACHINE)
    predictor.fit(KNOWN, [law(k) for k in KNOWN])
    assert predictor.price(ASKED[0]).source == "predicted"
    predictor.fit(KNOWN[:1], [1.0])
    assert (predictor.price(ASKED[0]).source, predictor.kernels) == ("roofline", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((KNOWN[:2], [1.0]), "2 kernels, 1 latencies"),
        ((KNOWN[:1], [0.0]), "positive"),
        ((KNOWN[:1], [float("inf")]), "positive"),
        ((KNOWN[:1], [1.0], [0]), "1 or more"),
    ],
)
def test_nonsense_is_refused(arguments, message):
    with pytest.raises(OptionError, match=message):
        Predictor(MACHINE).fit(*arguments)


# -- files -------------------------------------------------------------------------------------------------------------


def test_saved_and_loaded_predictions_are_equal(trained, tmp_path):
    path = tmp_path / "predictor.json"
    trained.save(path)
    loaded = Predictor.load(path, MACHINE)
    assert [p.name for p in tmp_path.iterdir()] == ["predictor.json"]
    assert (loaded.source, loaded.kernels, loaded.trials) == (trained.source, trained.kernels, trained.trials)
    assert [loaded.price(k) for k in ASKED] == [trained.price(k) for k in ASKED]
    assert [loaded.uncertainty(k) for k in ASKED] == pytest.approx([trained.uncertainty(k) for k in ASKED], rel=1e-3)


def test_an_untrained_predictor_can_be_saved(tmp_path):
    Predictor(MACHINE, trials=8).save(tmp_path / "p.json")
    loaded = Predictor.load(tmp_path / "p.json", MACHINE)
    assert (loaded.source, loaded.trials) == ("roofline", 8)


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "predictor.json"
    trained.save(path)
    return path.read_text()


def _without(*path):
    def damage(value):
        for key in path[:-1]:
            value = value[key]
        del value[path[-1]]

    return damage


def _with(value, *path):
    def damage(target):
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        _without("trials"),
        _without("ensemble"),
        _without("ensemble", "members"),
        _without("ensemble", "known", "points"),
        _with([], "ensemble", "members"),
        _with([{}], "ensemble", "members"),
        _with("trees", "ensemble", "members"),
        _with({}, "ensemble", "members", 0, "learner"),
        _with([0.0], "ensemble", "known", "scale"),
        _with([[1.0]], "ensemble", "known", "points"),
        _with(["a"], "ensemble", "known", "points"),
        _with(-1, "ensemble", "known", "reach"),
        _with(0, "trials"),
        _with(2, "format"),
        _with(["width"], "features"),
    ],
)
def test_a_damaged_file_is_named(saved, tmp_path, damage):
    path = tmp_path / "predictor.json"
    value = json.loads(saved)
    damage(value)
    path.write_text(json.dumps(value))
    with pytest.raises(FormatError, match=r"predictor\.json.*train it again"):
        Predictor.load(path, MACHINE)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x80", '{"format": 1}'])
def test_what_is_no_predictor_is_named(tmp_path, text):
    path = tmp_path / "predictor.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(FormatError, match=r"predictor\.json"):
        Predictor.load(path, MACHINE)


def test_a_missing_file_and_another_machine_are_named(trained, tmp_path):
    with pytest.raises(OptionError, match="can't read"):
        Predictor.load(tmp_path / "none.json", MACHINE)
    trained.save(tmp_path / "p.json")
    with pytest.raises(OptionError, match="another machine"):
        Predictor.load(tmp_path / "p.json", replace(MACHINE, threads=3))


# -- records -----------------------------------------------------------------------------------------------------------


def samples(folder, target=TARGET):
    return Records(index_of(folder, target)).samples()


def record(folder, kernel, *latencies):
    database = ms.database.JSONDatabase(work_dir=str(folder))
    workload = database.commit_workload(kernel.mod)
    for latency in latencies:
        trace, arguments = Schedule(kernel.mod).trace, ms.arg_info.ArgInfo.from_entry_func(kernel.mod)
        database.commit_tuning_record(ms.database.TuningRecord(trace, workload, latency, TARGET, arguments))


def test_records_are_read_trial_by_trial(tmp_path):
    record(tmp_path, KNOWN[0], [4.0], [1e10], [1.0, 3.0])
    record(tmp_path, KNOWN[1], None, [1e10])
    record(tmp_path, KNOWN[2], [5.0])
    first, second = samples(tmp_path)
    assert first.trials == (4.0, float("inf"), 2.0) and second.trials == (5.0,)
    assert first.best() == 2.0
    assert (first.kernel.hash, first.kernel.work) == (KNOWN[0].hash, KNOWN[0].work)
    assert tvm_ffi.structural_equal(first.kernel.mod, KNOWN[0].mod)
    assert samples(tmp_path, tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v2"})) == []
    assert Predictor.from_records(tmp_path, TARGET, MACHINE).source == "roofline"


def test_what_some_of_the_trials_would_have_found():
    trials = (3.0, 1.0, float("inf"), 2.0, 8.0, 1.5)
    sample = Sample(KNOWN[0], trials)
    for count in range(1, 6):
        best = [min(c) for c in combinations([t for t in trials if t < float("inf")], count)]
        assert sample.expected(count) == pytest.approx(np.exp(np.mean(np.log(best))))
    assert Sample(KNOWN[0], (2.0,)).expected(1) == pytest.approx(2.0)


def test_a_folder_without_records_is_named(tmp_path):
    with pytest.raises(OptionError, match="no MetaSchedule database"):
        Predictor.from_records(tmp_path, TARGET, MACHINE)


def test_what_is_measured_later_is_learned_on_refresh(tmp_path):
    for kernel in KNOWN[: MINIMUM - 1]:
        record(tmp_path, kernel, [law(kernel)])
    predictor = Predictor.from_records(tmp_path, TARGET, MACHINE)
    assert predictor.source == "roofline"
    for kernel in KNOWN[MINIMUM - 1 : 40]:
        record(tmp_path, kernel, [law(kernel)])
    assert predictor.source == "roofline"
    predictor.refresh()
    assert (predictor.source, predictor.kernels) == ("predicted", 40)
    price = predictor.price(ASKED[0])
    record(tmp_path, KNOWN[40], [law(KNOWN[40])])
    predictor.refresh()  # one more than forty: not worth learning again
    assert (predictor.price(ASKED[0]), predictor.kernels) == (price, 40)
