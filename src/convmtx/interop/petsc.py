"""Maps as matrices of PETSc, of which each rank has its own rows."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx.arguments import flag
from convmtx.errors import ArgumentError, ArgumentTypeError, door
from convmtx.extras import import_extra
from convmtx.geometry import Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap, require_numpy_map
from convmtx.typing import AnyArray


@door("to_petsc")
def to_petsc(op: LinearMap, comm: Any = None, lazy: bool = False) -> Any:
    """Return a map as a matrix of PETSc whose rows are spread over the ranks; all ranks of ``comm`` call this.

    Law: its products are ``op(x)``, ``op.T(y)`` and ``op.H(y)`` of flattened arrays, in C order. Rows and columns are
    spread as PETSc spreads them itself: the first ranks have one more.

    Parameters
    ----------
    op : LinearMap
        Any map with a NumPy kernel, the same on every rank.
    comm : petsc4py.PETSc.Comm or mpi4py.MPI.Comm, optional
        Ranks that share the matrix; by default all of them.
    lazy : bool
        Whether to return a shell that applies the map, instead of an AIJ matrix.

    Returns
    -------
    petsc4py.PETSc.Mat
        With ``lazy=False`` of type AIJ: each rank builds its own rows in closed form, and no others. With
        ``lazy=True`` of type Python: a rank computes its own part of a product from the inputs that this part reads.

    Raises
    ------
    TypeError
        If ``op`` is not a map, if its kernel is an array of another library, or if it is complex and PETSc was built
        for real numbers.
    ValueError
        If PETSc was built with indices of 32 bits and the matrix needs more.
    MemoryError
        If the rows of this rank do not fit in memory.
    ImportError
        Without the extra ``petsc``.

    Notes
    -----
    AIJ takes the time and the memory of ``op.to_sparse`` of the rows of a rank, in PETSc's integers and numbers. The
    shell has an input of full size on each rank, of which it fills what the rank reads: of a convolution the lines
    around its own ones, of other maps everything. The petsc4py of Debian 12 does not run beside NumPy 2.

    Examples
    --------
    Save this as ``solve.py`` and run it as ``mpiexec -n 4 python solve.py``::

        import numpy as np, convmtx as cm
        from petsc4py import PETSc

        op = cm.conv(np.ones((5, 5)) / 25, (4096, 4096), padding="same") + 0.1 * cm.identity((4096, 4096))
        A = cm.to_petsc(op)
        x, b = A.createVecs()
        b.set(1.0)
        solver = PETSc.KSP().create(A.comm)
        solver.setOperators(A)
        solver.solve(b, x)
    """
    PETSc = import_extra("petsc4py.PETSc", "petsc")
    _check(op, PETSc)
    comm = PETSc.COMM_WORLD if comm is None else comm
    place = PETSc.Vec().create(comm)  # knows the rank, whatever kind of communicator it is
    rank, count = place.comm.rank, place.comm.size
    rows, columns = (_own(total, rank, count) for total in op.shape)
    size = ((len(rows), op.shape[0]), (len(columns), op.shape[1]))
    if not flag("lazy", lazy):
        own: Any = op.to_sparse("csr", rows=slice(rows.start, rows.stop))
        arrays = own.indptr.astype(PETSc.IntType), own.indices.astype(PETSc.IntType), own.data.astype(PETSc.ScalarType)
        return PETSc.Mat().createAIJ(size, csr=arrays, comm=comm)
    shell = PETSc.Mat().createPython(size, _Shell(PETSc, op, rows, columns, comm), comm=comm)
    shell.setUp()
    return shell


def _check(op: Any, PETSc: Any) -> None:
    """Refuse a map whose numbers or indices PETSc does not have."""
    require_numpy_map(op)
    if op.dtype.kind == "c" and np.dtype(PETSc.ScalarType).kind != "c":
        got, expected = f"a map of {op.dtype}", "This PETSc was built for real numbers"
        raise ArgumentTypeError(got, expected, "Use one that was built for complex numbers")
    if max(op.shape) > np.iinfo(PETSc.IntType).max:
        got, expected = f"a matrix {op.shape[0]} x {op.shape[1]}", "This PETSc was built with indices of 32 bits"
        raise ArgumentError(got, expected, "Use one that was built with 64")


def _own(total: int, rank: int, count: int) -> range:
    """Return the rows of a rank: the first ``total % count`` ranks have one more than the others."""
    least, more = divmod(total, count)
    start = rank * least + min(rank, more)
    return range(start, start + least + (rank < more))


class _Shell:
    """Context of a matrix that applies a map: PETSc calls its methods by name."""

    def __init__(self, PETSc: Any, op: LinearMap, rows: range, columns: range, comm: Any) -> None:
        self.forward = _Part(PETSc, op, rows, columns, comm)
        self.transposed = _Part(PETSc, op.T, columns, rows, comm)

    def mult(self, _: Any, x: Any, y: Any) -> None:
        """Compute ``y = A x``."""
        self.forward.apply(x, y)

    def multTranspose(self, _: Any, x: Any, y: Any) -> None:
        """Compute ``y = A^T x``."""
        self.transposed.apply(x, y)

    def multHermitian(self, _: Any, x: Any, y: Any) -> None:
        """Compute ``y = conj(A)^T x``."""
        conjugated = x.duplicate()
        x.copy(conjugated)
        conjugated.conjugate()
        self.transposed.apply(conjugated, y)
        y.conjugate()


class _Part:
    """The outputs of a map that one rank owns, and the inputs that they read."""

    def __init__(self, PETSc: Any, op: LinearMap, rows: range, columns: range, comm: Any) -> None:
        line = prod(op.out_shape[1:])
        lines = range(rows.start // line, -(-rows.stop // line)) if rows else range(0)
        self.op = op[lines.start : lines.stop] if rows else None
        self.own = slice(rows.start - lines.start * line, rows.stop - lines.start * line)
        self.read = _read(op, lines) if rows else range(0)
        #: An input, of which only what is read is ever filled.
        self.x: AnyArray = np.zeros(op.shape[1] if rows else 0, PETSc.ScalarType)
        self.in_shape = op.in_shape
        whole = PETSc.Vec().createMPI((len(columns), op.shape[1]), comm=comm)
        self.local = PETSc.Vec().createSeq(len(self.read), comm=PETSc.COMM_SELF)
        chosen = PETSc.IS().createStride(len(self.read), self.read.start, 1, comm=PETSc.COMM_SELF)
        self.scatter = PETSc.Scatter().create(whole, chosen, self.local, None)

    def apply(self, x: Any, y: Any) -> None:
        """Fetch the inputs from the ranks that have them, and compute the own outputs."""
        self.scatter.scatter(x, self.local)
        if self.op is not None:
            self.x[self.read.start : self.read.stop] = self.local.getArray(readonly=True)
            y.setArray(self.op(self.x.reshape(self.in_shape)).reshape(-1)[self.own])


def _read(op: LinearMap, lines: range) -> range:
    """Return a range of flattened inputs from which these lines of outputs are computed; a line is one slowest index.

    Of a convolution whose slowest axis is a spatial one, it reaches from the first input line that is read to the last.
    """
    if not isinstance(op, ConvOperator) or op.geometry.layout is Layout.FIRST:
        return range(op.shape[1])
    first, last = op.geometry.axes[0].extent(np.array(lines))
    if (last < 0).all():
        return range(0)
    line = prod(op.in_shape[1:])
    return range(int(first[last >= 0].min()) * line, (int(last.max()) + 1) * line)
