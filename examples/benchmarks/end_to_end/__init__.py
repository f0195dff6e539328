"""Whole models: TVM as imported, the best that TVM's own passes do by hand, EqSatOptimize, and other runtimes.

Everybody has the same threads. Whoever compiles with TVM tunes with MetaSchedule, with the same trials, and then, for a
second comparison, the same wall time: whoever took less of it for those trials tunes on until as much is spent, where
time is all of it from the imported module to the last record, saturation included. Of the configurations by hand, each
gets the whole budget, and the one that is measured to be fastest counts. All programs are run in turns, and their
outputs compared with onnxruntime's.
"""
