"""A fast MetaSchedule builder and runner for this machine's CPU.

MetaSchedule's own builder starts new processes for every batch, packs each candidate into an archive, and its runner
links and loads it again. Here a candidate is compiled by LLVM's JIT in a persistent worker process and timed in that
same process.
"""

from .builder_runner import DEFAULT_CONFIG, IN_PROGRAM, EngineBuilder, EngineRunner, Measurement, engine

__all__ = ["DEFAULT_CONFIG", "IN_PROGRAM", "EngineBuilder", "EngineRunner", "Measurement", "engine"]
