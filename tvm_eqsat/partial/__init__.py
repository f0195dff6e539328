"""Partially equivalent transformations with automatic corrections (PET, OSDI'21).

A *mutant* of a multilinear program computes the same outputs differently, and rightly only for some elements. The
generator (:mod:`.mutants`) makes them without caring for equality, of one operator or of several together
(:mod:`.chains`), some with a halo (:mod:`.exchange`) that keeps apart what they would mix up; :func:`difference` finds
exactly the elements that are wrong, and :func:`corrected` recomputes these. What comes out is equivalent on every
element, and enters the e-graph as any other equal program.
"""

from __future__ import annotations

from .boxes import Box, output_boxes
from .corrections import corrected
from .corrector import Difference, difference

__all__ = ["Box", "Difference", "corrected", "difference", "output_boxes"]
