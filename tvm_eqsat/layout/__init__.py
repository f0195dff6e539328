"""Layouts of tensors: index maps, and operators whose operands are stored in blocks."""
