"""The vector registers of a CPU target."""

from __future__ import annotations

from dataclasses import dataclass

from tvm.target import Target, codegen

# Instruction sets, the widest first: what LLVM calls them, bits of a vector register, registers.
_SETS = (("avx512f", 512, 32), ("avx", 256, 16), ("neon", 128, 32))
_OTHERS = 128, 16


@dataclass(frozen=True)
class Registers:
    """Vector registers.

    Attributes
    ----------
    bits : int
        Of one register.
    count : int
        How many there are.
    """

    bits: int
    count: int

    def lanes(self, bits: int) -> int:
        """How many values of so many bits a register holds."""
        return max(1, self.bits // bits)


def registers_of(target: Target) -> Registers:
    """The registers of an LLVM target (``llvm_get_vector_width`` answers 512 bits for every x86)."""
    features = {str(feature) for feature in codegen.llvm_get_cpu_features(target)}
    return next((Registers(bits, count) for name, bits, count in _SETS if name in features), Registers(*_OTHERS))
