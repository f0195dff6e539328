"""TVM's objects from the lines of a database, or None where TVM can't make them."""

from __future__ import annotations

import logging
from typing import Any

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
