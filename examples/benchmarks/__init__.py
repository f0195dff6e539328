"""Benchmarks: ``python -m examples.benchmarks.NAME``, each prints a table and, with ``--json``, one JSON object."""
