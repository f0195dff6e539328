"""Layouts as equivalences: conversions that compose and cancel, and operators that take a tensor as it is stored.

A conversion that follows a convolution is moved towards the outputs, past operators that work in any layout, until it
meets the conversion in front of another convolution, and the two compose to nothing.
"""

from .choice import restricted
from .compose import COMPOSE
from .convolutions import PASSING, blocked_layouts

__all__ = ["COMPOSE", "PASSING", "blocked_layouts", "restricted"]
