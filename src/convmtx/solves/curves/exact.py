"""Curves of damped solutions from a decomposition of the map, or of the map and the regularizer together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convmtx.costs import LONGEST_SPECTRUM
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.wrapped import Transposed
from convmtx.solves.curves.curve import LEAST, Curve, Measure, dampings
from convmtx.solves.methods.by_axes import AxesCandidate, JointVectors
from convmtx.solves.methods.by_blocks import BlockFactors, SpectralCandidate, by_dense
from convmtx.solves.methods.small_matrices import energies
from convmtx.solves.problem import Problem
from convmtx.solves.select import candidates
from convmtx.structure.precision import EPS
from convmtx.taps import channels_first
from convmtx.typing import AnyArray

#: Sine over cosine up to which a direction counts as one that the regularizer leaves free.
FREE = 1e-12


def exact_curve(problem: Problem, b: AnyArray) -> Curve | None:
    """Return the curve for right-hand sides (m, *out_shape), or None if the map has no fast decomposition.

    The damping of the problem is where numbers of a map and its regularizer are of one size.
    """
    # A transpose is solved by the factors of another map, so that its dense matrix alone has its own vectors.
    applicable = [by_dense(problem)] if isinstance(problem.op, Transposed) else candidates(problem)
    for candidate in applicable:
        if candidate.price.build > LONGEST_SPECTRUM or not candidate.fits:
            continue
        if isinstance(candidate, SpectralCandidate):
            return _curve_of_blocks(problem, candidate.make(), b)
        joint = candidate.joint() if isinstance(candidate, AxesCandidate) else None
        if joint is not None:
            return _curve_along_axes(problem, joint, b)
    return None


def _curve_of_blocks(problem: Problem, factors: BlockFactors, b: AnyArray) -> Curve:
    """Return the curve from singular values and vectors of blocks."""
    data, freedom = _measures(factors, b) if problem.regularizer is None else _joint_measures(factors, b)
    outside = 0.0 if factors.spans_outputs else max(float(np.vdot(b, b).real) - data.total, 0.0)
    data = replace(data, values=np.append(data.values, 0.0), weights=np.append(data.weights, outside))
    largest = max(float(freedom.values.max(initial=0)), np.finfo(float).tiny)
    damps = dampings(largest if problem.regularizer is None else problem.damp, largest)
    return Curve(data, freedom, problem.op.shape[0], damps)


def _curve_along_axes(problem: Problem, joint: JointVectors, b: AnyArray) -> Curve:
    """Return the curve of a Kronecker sum, in vectors V in which ``A^H A`` and ``damp^2 R^H R`` are diagonal.

    Columns of A V are orthogonal, so b has the coefficient ``V^H A^H b`` over their length along each. Rounding hides
    columns shorter than about 1e-7 of the longest; the curve ends above what these would add.
    """
    assert isinstance(problem.op, ConvOperator)
    data, penalty = (values.ravel() for values in joint.values)
    cut, free = (EPS * max(joint.values[0].shape) * values.max() for values in (data, penalty))
    is_seen, is_free = data > cut, penalty <= free
    inside = joint.analyse(channels_first(problem.op.geometry, problem.adjoint(b)))
    squares = np.divide(energies(inside.reshape(-1, data.size).T), data, out=np.zeros(data.size), where=is_seen)
    ratios = np.divide(data, penalty, out=np.zeros(data.size), where=is_seen & ~is_free)
    values = problem.damp * np.sqrt(ratios)[~is_free]
    spans_outputs = is_seen.sum() == problem.op.shape[0]
    outside = 0.0 if spans_outputs else max(float(np.vdot(b, b).real) - float(squares.sum()), 0.0)
    lengths = Measure(np.append(values, 0), np.append(squares[~is_free], outside), float(squares[is_free].sum()))
    least = problem.damp * float(cut / penalty.max()) ** 0.5
    damps = dampings(max(problem.damp, least / LEAST), float(values.max(initial=0)))
    return Curve(lengths, Measure(values, 1.0 * is_seen[~is_free], float(is_free.sum())), problem.op.shape[0], damps)


def _measures(factors: BlockFactors, b: AnyArray) -> tuple[Measure, Measure]:
    """Return squared lengths of b along left singular vectors, and numbers of singular values."""
    values, times, lengths = factors.spectrum(b)
    return Measure(values, lengths), Measure(values, times)


def _joint_measures(factors: BlockFactors, b: AnyArray) -> tuple[Measure, Measure]:
    """Return the measures of a map with a regularizer, by the generalized singular values of its blocks.

    With ``[A; d R] = Q M`` and Q orthonormal, the rows of A in Q have singular values c. The solution for the damping t
    is a sum with weights ``c^2 / (c^2 + (t / d)^2 s^2)``, ``s^2 = 1 - c^2``, so that ``d c / s`` is the value (Paige,
    Saunders, SIAM J. Numer. Anal. 18, 1981).
    """
    values, times, lengths = [], [], []
    for c, stack, rows in zip(factors.coefficients, factors.stacks, factors.rows, strict=True):
        u, s, _ = np.linalg.svd(stack.matrices, full_matrices=False)
        u = u * (s > EPS * max(stack.matrices.shape) * factors.norm)[:, None]
        left, cosines, right = np.linalg.svd(u[:, :rows], full_matrices=False)
        sines = np.sqrt(energies(u[:, rows:] @ right.conj().swapaxes(1, 2)))
        is_free = sines <= FREE * cosines
        values.append(np.divide(cosines, sines, out=np.full_like(sines, np.inf), where=~is_free).ravel())
        times.append(np.repeat(c.times, cosines.shape[1]) * (cosines > 0).ravel())
        inside = left.conj().swapaxes(1, 2) @ c.analyse(b, False)
        lengths.append((energies(inside.swapaxes(1, 2)) * c.weights[:, None]).ravel())
    joined = factors.problem.damp * np.concatenate(values)
    is_finite = np.isfinite(joined)
    measures = (
        Measure(joined[is_finite], weights[is_finite], float(weights[~is_finite].sum()))
        for weights in (np.concatenate(lengths), np.concatenate(times))
    )
    return next(measures), next(measures)
