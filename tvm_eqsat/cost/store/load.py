"""TVM's objects from the lines of a database, or None where TVM can't make them; and back."""

from __future__ import annotations

import logging
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx
from tvm.s_tir.meta_schedule.database import TuningRecord, Workload

from ..intrinsics import load_intrinsics
from . import format as fmt

logger = logging.getLogger("tvm_eqsat.cost.store")


def load_workload(value: Any) -> Workload | None:
    """A kernel from its line."""
    if not fmt.is_workload(value):
        return None
    try:
        return Workload.from_json(value)
    except Exception as err:  # whatever TVM's reader stumbles on
        logger.debug("kernel %s: %s", value[0], err)
        return None


def load_record(body: Any, workload: Workload) -> TuningRecord | None:
    """A record from its line, after the number of the workload: its schedule is applied to the workload."""
    if "Tensorize" in str(body[0]):
        load_intrinsics()
    try:
        return TuningRecord.from_json(body, workload)
    except Exception as err:  # whatever TVM's reader stumbles on
        logger.debug("record: %s", err)
        return None


def record_body(record: TuningRecord) -> Any:
    """What the line of a record says, after the number of the workload.

    ``TuningRecord.as_json`` can't write a schedule that changes a layout; TVM's own database can, and does it so.
    """
    return _plain(tvm_ffi.get_global_func("s_tir.meta_schedule.TuningRecordAsJSON")(record))


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, int | float | str):
        return value
    if isinstance(value, tirx.IntImm | tirx.FloatImm):
        return value.value
    if isinstance(value, tvm_ffi.Array):
        return [_plain(item) for item in value]
    if isinstance(value, tvm_ffi.Map):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return str(tvm.ir.save_json(value))
