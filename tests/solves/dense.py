"""What NumPy says of least squares: dense, by singular values, of the loop reference's or of the map's own matrix."""

import numpy as np

EPS = np.finfo(float).eps
#: Singular values of matrices of small integers are zero to rounding, or far above this fraction of the largest.
ZERO = 1e-10


def numbers(rng, shape, kind="f"):
    values = rng.standard_normal(shape)
    return values + 1j * rng.standard_normal(shape) if kind == "c" else values


def matrix_of(op):
    """In double precision, as what is solved."""
    return op.to_dense().astype(np.result_type(op.dtype, np.float64))


def stacked(A, damp=0.0, R=None):
    """The matrix whose least squares are those with a penalty."""
    return np.concatenate([A, damp * (np.eye(A.shape[1]) if R is None else R)]) if damp else A


def least(A, b, damp=0.0, R=None):
    """The shortest least-squares solutions, (*batch, columns), of right-hand sides (*batch, rows)."""
    return b @ np.linalg.pinv(stacked(A, damp, R), rcond=ZERO)[:, : len(A)].T


def kept(A):
    """The singular values that are not zero to rounding."""
    s = np.linalg.svd(A, compute_uv=False)
    return s[s > ZERO * s.max(initial=1e-300)]


def condition(A):
    """The ratio of the singular values that are not zero to rounding."""
    s = kept(A)
    return s[0] / s[-1] if s.size else 1.0


def has_full_rank(A):
    return len(kept(A)) == min(A.shape)


def near(D, b, power=1):
    """What rounding may make of the solutions of each right-hand side: backward errors of a multiple of EPS.

    Least squares answer to these with ``cond (|x| + |r| / s_min)``, which is at most ``2 cond |b| / s_min``.
    """
    s = kept(D)
    size = np.linalg.norm(b.reshape(len(b), -1), axis=1)
    return 32 * sum(D.shape) * EPS * condition(D) ** power * size / (s[-1] if s.size else 1)


def distances(x, expected):
    """The norm of the difference of each array of a batch."""
    assert x.shape == expected.shape
    return np.linalg.norm((x - expected).reshape(len(x), -1), axis=1)
