"""A design space of schedules beside MetaSchedule's own: register tiles, for convolutions and matrix products."""

from .proposals import TileProposals, tiled_space
from .rule import RegisterTiles, is_tiled

__all__ = ["RegisterTiles", "TileProposals", "is_tiled", "tiled_space"]
