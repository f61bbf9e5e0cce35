"""Pictures of maps that join in: the entries drawn are those of the matrix, and notebooks show sizes and parts."""

from xml.etree import ElementTree

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator

import convmtx as cm

RNG = np.random.default_rng(0)
A = RNG.integers(1, 9, (3, 6)) * (RNG.random((3, 6)) < 0.6)
OP = cm.conv([[1, 2], [3, 4]], (2, 3), padding="same", boundary="edge")


class Own(cm.LinearMap):
    """A class of a user's own."""

    in_shape, out_shape, dtype = (2, 3), (3,), np.dtype(int)

    def _apply(self, x):
        return x.reshape(len(x), 6) @ A.T

    def _apply_transposed(self, y):
        return (y @ A).reshape(len(y), 2, 3)


KINDS = {
    "identity": cm.identity((2, 3)),
    "diagonal": cm.diagonal([[1, 2, 0], [3, 4, 5]]),
    "select": cm.select((2, 3), (slice(None), [0, -1, 0])),
    "op[mask]": OP[np.array([[True, False, True], [False, True, True]])],
    "op[steps]": OP[:, ::2],
    "odd padding": cm.pad((2, 3), 1, "reflect", "odd"),
    "vstack": cm.vstack([OP, 2 * OP]),
    "hstack": cm.hstack([OP, -OP]),
    "block_diag": cm.block_diag([OP, A]),
    "concat": cm.concat([OP, OP + OP], 1),
    "kron": cm.kron(cm.conv([1, -1], 3), A),
    "abs": abs(cm.block_diag([-OP, A])),
    "gram": cm.gram(OP),
    "weighted gram": cm.gram(cm.conv([[1, 2]], (2, 3)), [[1, 2], [3, 0]]),
    "local": cm.local(RNG.integers(-3, 4, (2, 2, 2, 2)), (3, 3)),
    "local per input": cm.local(RNG.integers(-3, 4, (3, 3, 2, 2)), (3, 3), per="input"),
    "varying": cm.varying(RNG.integers(-3, 4, (2, 2)), RNG.integers(-3, 4, (2, 5)), 5),
    "dense": cm.aslinearmap(A, (2, 3)),
    "sparse": cm.aslinearmap(sp.csr_array(A)),
    "operator": cm.aslinearmap(aslinearoperator(A)),
    "function": cm.aslinearmap(np.cumsum, 4, adjoint=lambda y: np.cumsum(y[::-1])[::-1]),
    "border": cm.fuse(cm.conv([1, 2, 1], 5, padding=1) @ cm.conv([1, 1, 3], 5, padding=1)).border,
    "own": Own(),
    "complex": cm.vstack([1j * OP, OP]),
    "transpose": cm.vstack([OP, 2 * OP]).T,
}


@pytest.mark.parametrize("name", KINDS)
def test_the_entries_drawn_are_those_of_the_matrix(name, ax):
    op = KINDS[name]
    D = op.to_dense()
    data = cm.plot.matrix_data(op)
    assert data.counts.shape == D.shape
    assert np.array_equal(np.where(data.counts > 0, data.values, 0), D)
    assert set(np.unique(data.counts)) <= {0, 1}
    assert (data.counts[D != 0] == 1).all()
    cm.plot.matrix(op, ax, values=True)
    texts = [text.get_text() for text in ax.texts]
    assert len(texts) == data.counts.sum()
    assert ax.get_title() == f"{len(D)} x {D.shape[1]}, {data.counts.sum()} stored"


@pytest.mark.parametrize("name", KINDS)
def test_notebooks_show_sizes_and_parts(name):
    op = KINDS[name]
    tree = ElementTree.fromstring(op._repr_html_())
    lines = [(line.find("th").text, line.find("td").text) for line in tree.iter("tr")]
    facts = dict(reversed(lines))  # a part may have the name of the first lines
    assert facts["maps"] == f"{op.in_shape} → {op.out_shape}"
    assert facts["matrix"] == f"{op.shape[0]} x {op.shape[1]}"
    if name in ("vstack", "hstack", "block_diag"):
        assert facts["maps[0]"] == repr(op.maps[0])
        assert facts["maps[1]"] == repr(op.maps[1])


@pytest.mark.parametrize("name", KINDS)
def test_rows_can_be_drawn(name, ax):
    op = KINDS[name]
    data = cm.plot.row_data(op, op.shape[0] - 1)
    assert np.array_equal(data.weights.ravel(), op.to_dense()[-1])
    cm.plot.row(op, op.shape[0] - 1, ax)
