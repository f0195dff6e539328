"""Tensor graphs: the operator table, and the way from Relax and back."""
