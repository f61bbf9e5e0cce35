"""Results of recognition, and the words for them."""

from __future__ import annotations

from dataclasses import dataclass

from convmtx.geometry import Geometry, Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.recognition.comparison import Difference
from convmtx.recognition.shapes import Numbering
from convmtx.typing import Shape


@dataclass(frozen=True)
class Reading:
    """Order in which rows and columns of a matrix number outputs and inputs, and whether it is transposed."""

    outputs: Numbering = Numbering.AS_PASSED
    inputs: Numbering = Numbering.AS_PASSED
    is_transposed: bool = False

    def __str__(self) -> str:
        transposed = ["transposed"] if self.is_transposed else []
        if self.outputs is self.inputs:
            sides = [] if self.outputs is Numbering.AS_PASSED else [f"{self.outputs.value} on both sides"]
        else:
            sides = [f"outputs {self.outputs.value}", f"inputs {self.inputs.value}"]
        return ", ".join(transposed + sides) or Numbering.AS_PASSED.value


AS_PASSED = Reading()


@dataclass(frozen=True, eq=False)
class Recognition:
    """Convolution that a matrix, map or function is, or the nearest one.

    Attributes
    ----------
    op : ConvOperator
        The convolution; of all that are the same map, one with the fewest taps.
    exact : bool
        Whether its matrix is the matrix that was passed: to the last bit for integers, and for floats up to the
        rounding of sums of taps.
    distance : float
        Frobenius norm of the matrix minus that of ``op``.
    differs : tuple of Difference
        The first three entries that differ, in coordinates of output, input and tap.
    count : int
        Number of entries that differ.
    reading : Reading
        Order in which rows and columns were read. Other than as passed in ``alternatives`` alone.
    alternatives : tuple of Recognition
        Other readings, layouts and shapes under which the matrix is a convolution. If ``exact`` is True, they cannot be
        told from ``op`` by the matrix: it is ambiguous.
    boundaries : tuple of tuple of str
        Other boundaries of each axis that give the same matrix.
    unseen : tuple of tuple of int
        Taps of the kernel that no output reads anything through, so that any value fits; it is 0.
    applications : int or None
        Number of inputs to which a function was applied.
    """

    op: ConvOperator
    exact: bool
    distance: float
    differs: tuple[Difference, ...]
    count: int
    reading: Reading = AS_PASSED
    alternatives: tuple[Recognition, ...] = ()
    boundaries: tuple[tuple[str, ...], ...] = ()
    unseen: tuple[Shape, ...] = ()
    applications: int | None = None

    def __repr__(self) -> str:
        return f"Recognition({self.verdict})"

    @property
    def call(self) -> str:
        """Call of `convmtx.conv` that builds the convolution from its kernel K."""
        return write_call(self.op.geometry)

    @property
    def verdict(self) -> str:
        """One sentence: the convolution, or why there is none."""
        if self.exact:
            words = [self.call if self.reading == AS_PASSED else f"{self.reading}: {self.call}"]
            words += self._ambiguities()
            return "; ".join(words)
        words = ["not a convolution as passed"]
        explaining = [other for other in self.alternatives if other.exact]
        if explaining:
            words += [f"{other.reading}, it is {other.call}" for other in explaining]
            if len(explaining) > 1:
                words.insert(1, "ambiguous")
            return "; ".join(words)
        first = self.differs[0] if self.differs else None
        words.append(f"the nearest is {self.call}, at distance {self.distance:.3g}")
        if first is not None:
            entries = "1 entry differs" if self.count == 1 else f"{self.count} entries differ"
            tap = "" if first.tap is None else f", tap {first.tap}"
            words.append(
                f"{entries}, first at output {first.output}, input {first.input}{tap}: {first.theirs} instead of "
                f"{first.ours}"
            )
        return "; ".join(words)

    def _ambiguities(self) -> list[str]:
        """Return what the matrix does not tell apart, in words."""
        words = [f"ambiguous: {other.reading}, it is {other.call} too" for other in self.alternatives if other.exact]
        for axis, names in enumerate(self.boundaries):
            if names:
                words.append(f"ambiguous: boundary {' or '.join(names)} gives the same matrix along axis {axis}")
        if self.unseen:
            words.append(f"taps {', '.join(map(str, self.unseen))} are read by no output")
        return words


def write_call(geometry: Geometry) -> str:
    """Return the call of `convmtx.conv` of a geometry, with the options that are not the usual ones."""
    axes = geometry.axes
    options = []
    for name, values, usual in (
        ("stride", [a.stride for a in axes], 1),
        ("dilation", [a.dilation for a in axes], 1),
        ("padding", [(a.lo, a.hi) for a in axes], (0, 0)),
        ("boundary", [a.boundary.name if a.reads_outside else "zero" for a in axes], "zero"),
        ("input_dilation", [a.input_dilation for a in axes], 1),
    ):
        if any(value != usual for value in values):
            is_one = len(set(values)) == 1 and name != "padding"
            options.append(f"{name}={values[0] if is_one else values!r}" if name != "boundary" or not is_one
                           else f"{name}={values[0]!r}")  # fmt: skip
    if geometry.groups > 1:
        options.append(f"groups={geometry.groups}")
    if geometry.layout is Layout.FIRST:
        options.append("channels='first'")
    kernel = f"K {geometry.kernel_shape}"
    return f"cm.conv({', '.join([kernel, str(geometry.in_shape), *options])})"
