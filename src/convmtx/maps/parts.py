"""Parts of a map by which spectra and solves take it apart; a class of maps made of maps says what its parts are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convmtx.maps.base import BaseMap

if TYPE_CHECKING:
    from convmtx.maps.linear_map import LinearMap


class Parts(BaseMap):
    """Base of `LinearMap`: a map is its own only part in every sense, unless its class knows better."""

    @property
    def _chain(self) -> tuple[LinearMap, ...]:
        """Maps whose product this one is, the last first."""
        return self._alone

    @property
    def _summands(self) -> tuple[LinearMap, ...]:
        """Maps that stand on the diagonal of the matrix: each takes and makes its own piece of flattened arrays."""
        return self._alone

    @property
    def _stack(self) -> tuple[LinearMap, ...]:
        """Maps of one input, whose flattened outputs stand one after the other."""
        return self._alone

    @property
    def _kronecker_factors(self) -> tuple[LinearMap, ...]:
        """Maps whose Kronecker product this one is, of flattened inputs and outputs."""
        return self._alone

    @property
    def _is_identity(self) -> bool:
        """Whether every output is the input itself, as far as the class knows."""
        return False

    @property
    def _alone(self) -> tuple[Any, ...]:
        return (self,)

    @property
    def _has_lone_entries(self) -> bool:
        """Whether every row and every column of the matrix has at most one entry, as far as the class knows."""
        return False
