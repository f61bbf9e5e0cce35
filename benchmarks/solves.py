"""Least squares with convolutions: ours beside SciPy, NumPy and scikit-image, in one run, results compared.

    python benchmarks/solves.py [--part PART] [--only TEXT] [--quick] [--json FILE]

Parts: line, singular, iterations, deblurring, circles, rings, kinds. ``other / ours`` above 1 means that ours is the
faster. Normal residuals are ``norm(A.H (b - A x) - damp**2 x) / norm(A.H b)``, always computed from x.
"""

import itertools
import operator
import time
import warnings
from functools import partial
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.linalg
import scipy.sparse.linalg
from measuring import Times, Values, main, medians, optional
from problems import PROBLEMS, bell, motion
from scipy.sparse.linalg import LinearOperator, cg, lsmr

import convmtx as cm

restoration = optional("skimage.restoration")
EPS = np.finfo(float).eps


def ready(function, *args, **options):
    """Return a method that prepares nothing."""
    return lambda: partial(function, *args, **options)


def normal_residual(op, b, x, damp=0.0):
    """Norm of the gradient at x over that at zero."""
    x = np.reshape(x, op.in_shape)
    return np.linalg.norm(op.H(b - op(x)) - damp**2 * x) / np.linalg.norm(op.H(b))


# Along one axis


class Line(NamedTuple):
    """n samples and k taps of a Gaussian, zeros around."""

    n: int
    k: int = 7

    @property
    def name(self):
        """Name of the case in tables."""
        return f"{self.n} k{self.k}"

    @property
    def kernel(self):
        """Gaussian with a positive symbol: sigma 1, and less for three taps."""
        return bell(self.k, 1.0 if self.k > 3 else 0.6)


LINES = [Line(2048), *(Line(n) for n in (256, 1024, 8192, 65536)), *(Line(2048, k) for k in (3, 15, 31)),
         Line(65536, 3), Line(65536, 31)]  # fmt: skip
TOEPLITZ = 8192  # samples above which solve_toeplitz, of n**2 steps, is left out


def line(quick):
    """Solving along one axis, zero boundary.

    'same', Gaussian kernels, random right-hand sides. `cm.solve` starts from the kernel. It is compared with
    `solve_toeplitz`, and with `spsolve` on a CSR matrix that was built before. Limit: `solve_banded` with a band that
    was built before. again: milliseconds of `.solve` of a factorization.
    """
    for problem in LINES[: 3 if quick else None]:
        yield problem.name, partial(on_line, problem)


def on_line(problem, case, repeat):
    op, b = cm.conv(problem.kernel, problem.n, padding="same"), np.random.default_rng(0).standard_normal(problem.n)
    matrix, bands = op.to_sparse("csr"), (problem.k // 2, problem.k // 2)
    methods = {
        "ours": lambda: partial(cm.solve, cm.conv(problem.kernel, problem.n, padding="same"), b),
        "again": ready(cm.factorize(op).solve, b),
        "toeplitz": ready(scipy.linalg.solve_toeplitz, matrix[:, [0]].toarray().ravel(), b),
        "spsolve": ready(scipy.sparse.linalg.spsolve, matrix, b),
        "banded": ready(scipy.linalg.solve_banded, bands, banded(matrix, bands[0]), b),
    }
    if problem.n > TOEPLITZ:
        del methods["toeplitz"]
    seconds, results = medians(methods, repeat, prepare=operator.call)
    return solved(case, seconds, results, limit="banded")


def solved(case, seconds, results, limit=None, more=(), tolerance=1e-8):
    """Row of methods to the same x or Solution; they may differ by what rounding can be at this condition."""
    xs = {name: np.ravel(getattr(result, "x", result)) for name, result in results.items()}
    errors = [np.abs(x - xs["ours"]).max() for name, x in xs.items() if name != "limit"]
    worst = max(errors) / np.abs(xs["ours"]).max()
    more = {"again": 1e3 * seconds["again"], **dict(more)}
    others = {name: time for name, time in seconds.items() if name not in ("ours", "again", limit)}
    method = results["ours"].method
    return Times(case, seconds["ours"], others, seconds.get(limit), worst, bool(worst <= tolerance), more, method)


def banded(matrix, reach):
    """The band of a square matrix as LAPACK stores it."""
    band = np.zeros((2 * reach + 1, matrix.shape[0]))
    for offset in range(-reach, reach + 1):
        diagonal = matrix.diagonal(offset)
        band[reach - offset, max(offset, 0) : max(offset, 0) + diagonal.size] = diagonal
    return band


def singular(quick):
    """Solving where minors are singular.

    One axis, kernel 1, 0, -1, zero boundary, 'same'. Every leading minor of odd size is zero. With an odd number of
    samples, the whole matrix is singular.
    """
    for n in (256, 255) if quick else (2048, 2047):
        for method in ("ours", "solve_toeplitz", "spsolve", "solve_banded"):
            yield f"{n}, {method}", partial(indefinite, n, method)


def indefinite(n, method, case, _repeat):
    op = cm.conv([1.0, 0.0, -1.0], n, padding="same")
    b = np.random.default_rng(0).standard_normal(n)
    matrix = op.to_sparse("csr")
    column, row = matrix[:, [0]].toarray().ravel(), matrix[[0]].toarray().ravel()
    methods = {
        "ours": partial(cm.solve, op, b),
        "solve_toeplitz": partial(scipy.linalg.solve_toeplitz, (column, row), b),
        "spsolve": partial(scipy.sparse.linalg.spsolve, matrix, b),
        "solve_banded": partial(scipy.linalg.solve_banded, (1, 1), banded(matrix, 1), b),
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = methods[method]()
        except np.linalg.LinAlgError as error:
            return Values(case, {"residual": "-", "normal residual": "-", "norm of x": "-", "said": f"{error}"})
    x = getattr(result, "x", result)
    near, size = np.linalg.norm(op(x) - b) / np.linalg.norm(b), np.linalg.norm(x)
    normal = normal_residual(op, b, x)
    ours = [result.method] if method == "ours" else []
    said = ", ".join([*(warning.category.__name__ for warning in caught), *ours])
    values = {"residual": near, "normal residual": normal, "norm of x": size, "said": said or "nothing"}
    return Values(case, values, bool(method != "ours" or normal < 1e-10))


# Deblurring


BLURS = {"Gauss": np.outer(bell(9, 2.0), bell(9, 2.0)), "motion": motion(9)}
KINDS = ("embedded", "strang", "tchan", "dct", "kron")
GOAL = 1e-8  # the normal residual that everybody is to reach


def iterations(quick):
    """Deblurring: iterations.

    Iterations to a normal residual of 1e-8, with 9x9 taps, zero boundary, 'same', and random right-hand sides. The
    columns are SciPy's cg on the normal equations, plain and with `M=cm.preconditioner(op, kind)`, and ours,
    `cm.solve(method="preconditioned")`. "-": this kind of preconditioner does not take the map. ">": cg stopped before
    it converged. Aim: plain / ours at least 4. The last case of the next part is left out, because it would take
    minutes.
    """
    for name, n, square in problems(quick):
        if (name, n, square) != ("motion", 256, 1e-4):
            yield f"{name} {n}x{n} damp^2 {square:g}", partial(counted, name, n, square**0.5)


def problems(quick):
    """Blurs, images, squares of the damping."""
    return list(itertools.product(BLURS, (16,) if quick else (64, 256), (1e-2, 1e-4)))


def blurred(name, n):
    return cm.conv(BLURS[name], (n, n), padding="same"), np.random.default_rng(0).standard_normal((n, n))


def counted(name, n, damp, case, _repeat):
    op, b = blurred(name, n)
    gram = LinearOperator(
        (op.shape[1],) * 2, dtype=float,
        matvec=lambda v: op.H(op(v.reshape(op.in_shape))).ravel() + damp**2 * v.ravel(),
    )  # fmt: skip
    right = op.H(b).ravel()

    def steps(M=None):
        count = []
        failed = cg(gram, right, rtol=GOAL, atol=0.0, maxiter=5000, M=M, callback=count.append)[1]
        return f"{'>' if failed else ''}{len(count)}"

    def of_kind(kind):
        try:
            return steps(cm.preconditioner(op, kind, damp=damp))
        except (cm.ConvmtxError, ValueError, NotImplementedError):
            return "-"

    plain = steps()
    values = {"plain": plain} | {kind: of_kind(kind) for kind in KINDS}
    ours = reached(partial(our_solution, op, b, damp, "preconditioned"), op, b, damp)[1].iterations
    return Values(case, values | {"ours": str(ours), "plain / ours": int(plain.strip(">")) / max(ours, 1)})


def deblurring(quick):
    """Deblurring: time.

    The same problems by `cm.solve` with its own choice of method. Compared with SciPy's lsmr on a CSR matrix that was
    built before, and on op. Each method gets the loosest of a few tolerances that brings the normal residual to 1e-8.
    Aim: other / ours at least 1.
    """
    for name, n, square in problems(quick):
        yield f"{name} {n}x{n} damp^2 {square:g}", partial(raced, name, n, square**0.5)


def our_solution(op, b, damp, method, tolerance):
    return cm.solve(op, b, damp=damp, method=method, rtol=tolerance)


def their_solution(matrix, b, damp, tolerance):
    return lsmr(matrix, b.ravel(), damp=damp, atol=tolerance, btol=tolerance, conlim=0, maxiter=10000)[0]


def reached(method, op, b, damp):
    """The loosest of a few tolerances that brings the true normal residual to the goal, and what the method gave."""
    best, tolerance = None, GOAL
    for _ in range(5):
        result = method(tolerance)
        ratio = GOAL / max(normal_residual(op, b, getattr(result, "x", result), damp), 1e-99)
        if ratio >= 1:
            best = tolerance, result
        if not getattr(result, "iterations", 1) or (best and ratio < 3):  # direct, near enough, or too loose now
            break
        tolerance *= min(max(ratio / 1.5, 1e-6), 1e3)
    return best or (tolerance, result)


def raced(name, n, damp, case, repeat):
    op, b = blurred(name, n)
    auto, theirs = partial(our_solution, op, b, damp, "auto"), partial(their_solution, op, b, damp)
    ours, other = (reached(method, op, b, damp)[0] for method in (auto, theirs))
    methods = {
        "ours": partial(auto, ours),
        "lsmr csr": partial(their_solution, op.to_sparse("csr"), b, damp, other),
        "lsmr op": partial(theirs, other),
    }
    seconds, results = medians(methods, repeat)
    method, results["ours"] = results["ours"].method, results["ours"].x
    residuals = {name: normal_residual(op, b, x, damp) for name, x in results.items()}
    more = {"residual": residuals["ours"], "of lsmr": residuals["lsmr csr"]}
    return Times(case, seconds.pop("ours"), seconds, None, None, bool(residuals["ours"] <= GOAL), more, method)


# On circles


def circles(quick):
    """Solving images, wrap boundary.

    `cm.solve` starts from the kernel. It is compared with code written by hand for `scipy.fft` (2 workers) and for
    `numpy.fft`, and with `skimage.restoration.wiener`. 9x9 Gauss, damp 0.01. Limit: rfft2 and irfft2 of the image
    alone, 2 workers. again: milliseconds of `.solve` of a factorization. Aim: limit / ours at least 67%.
    """
    for n in (256,) if quick else (256, 1000, 1024, 1021, 2048):
        yield f"{n}x{n}", partial(on_image, n)


def on_image(n, case, repeat):
    K, damp, b = np.outer(bell(9, 2.0), bell(9, 2.0)), 1e-2, np.random.default_rng(0).standard_normal((n, n))
    methods = {
        "ours": lambda: partial(cm.solve, on_circle(K, (n, n)), b, damp=damp),
        "again": ready(cm.factorize(on_circle(K, (n, n)), damp=damp).solve, b),
        "limit": ready(there_and_back, b),
        "scipy": ready(by_transforms, scipy.fft, K, b, damp, workers=2),
        "numpy": ready(by_transforms, np.fft, K, b, damp),
    }
    if restoration:
        options = {"reg": np.ones((n, n // 2 + 1), complex), "is_real": True, "clip": False}  # an impulse's transform
        methods["skimage"] = ready(restoration.wiener, b, K, damp**2, **options)
    return solved(case, *medians(methods, repeat, prepare=operator.call), limit="limit")


def rings(quick):
    """Solving along one axis, wrap boundary.

    `cm.solve` starts from the kernel. It is compared with `scipy.linalg.solve_circulant`. 7 taps, no damping.
    """
    for n in (4096,) if quick else (4096, 65536, 2**20):
        yield f"{n}", partial(on_ring, n)


def on_ring(n, case, repeat):
    op, b = on_circle(bell(7, 1.0), n), np.random.default_rng(0).standard_normal(n)
    methods = {
        "ours": lambda: partial(cm.solve, on_circle(bell(7, 1.0), n), b),
        "again": ready(cm.factorize(op).solve, b),
        "circulant": ready(scipy.linalg.solve_circulant, op(np.eye(1, n)[0]), b),
    }
    return solved(case, *medians(methods, repeat, prepare=operator.call))


def on_circle(K, shape):
    return cm.conv(K, shape, padding="same", boundary="wrap")


def there_and_back(b):
    return scipy.fft.irfft2(scipy.fft.rfft2(b, workers=2), b.shape, workers=2)


def by_transforms(fft, K, b, damp, **options):
    """The damped solution as one writes it by hand."""
    centred = np.zeros(b.shape)
    centred[: K.shape[0], : K.shape[1]] = K[::-1, ::-1]  # the map is a correlation
    symbol = fft.rfft2(np.roll(centred, [-(k // 2) for k in K.shape], (0, 1)), **options)
    return fft.irfft2(symbol.conj() * fft.rfft2(b, **options) / (np.abs(symbol) ** 2 + damp**2), b.shape, **options)


# Maps of all kinds

SECONDS = 3.0  # after which LSMR is stopped


class Stopped(Exception):  # noqa: N818  # no error
    """LSMR took too long."""


def steps_within(seconds, matrix, b, damp):
    """The steps that LSMR takes on this matrix or map, at most as many as it makes in so many seconds."""
    end, steps = time.perf_counter() + seconds, 0

    def forward(v):
        nonlocal steps
        if time.perf_counter() > end:
            raise Stopped
        steps += 1
        return matrix @ v.ravel()

    adjoint = matrix.T.conj()
    watched = LinearOperator(matrix.shape, matvec=forward, rmatvec=lambda u: adjoint @ u.ravel(), dtype=float)
    try:
        return lsmr(watched, b.ravel(), damp=damp, atol=1e-8, btol=1e-8, conlim=0, maxiter=10**6)[2], False
    except Stopped:
        return max(steps - 2, 1), True


def kinds(quick):
    """Solving maps of all kinds.

    `cm.solve` starts from the kernel, with its own choice of method. It is compared with SciPy's lsmr on a CSR matrix
    that was built before (csr), and on the map. All solve to 1e-8. The right-hand side is the map of noise, plus 1e-3
    of noise. The marks and columns:

    - ">": lsmr was stopped after 3 s. Its time is less than it needs.
    - difference: between our x and that of the faster lsmr. It means little if that one was stopped.
    - residual: our normal residual. of lsmr: that of the faster lsmr.
    - "!": our residual is more than a tenth larger, and not because of rounding.
    """
    for problem in PROBLEMS[:: 9 if quick else 1]:
        yield problem.name, partial(posed, problem)


def posed(problem, case, repeat):
    op, rng, damp = problem.op(), np.random.default_rng(1), problem.damp
    b = op(rng.standard_normal(op.in_shape))
    b += 1e-3 * np.abs(b).max() * rng.standard_normal(b.shape)
    matrix, late = op.to_sparse("csr"), {}
    methods = {"ours": lambda: partial(cm.solve, problem.op(), b, damp=damp)}
    for name, A in (("csr", matrix), ("map", op)):
        steps, late[name] = steps_within(SECONDS, A, b, damp)
        options = {"damp": damp, "atol": 1e-8, "btol": 1e-8, "conlim": 0, "maxiter": steps}
        methods[name] = ready(lsmr, A, b.ravel(), **options)
    seconds, results = medians(methods, repeat, SECONDS, operator.call)
    ours, best = results["ours"], min(late, key=seconds.get)
    xs = {"ours": ours.x.ravel(), "best": results[best][0]}
    residuals = {name: normal_residual(op, b, x, damp) for name, x in xs.items()}
    # rounding of A.H (b - A x), at most
    norm = (scipy.sparse.linalg.norm(matrix, 1) * scipy.sparse.linalg.norm(matrix, np.inf)) ** 0.5
    size = norm * (norm * np.linalg.norm(xs["ours"]) + np.linalg.norm(b)) / np.linalg.norm(op.H(b))
    well = residuals["ours"] <= max(16 * EPS * size, 1.1 * residuals["best"])
    apart = np.linalg.norm(xs["ours"] - xs["best"]) / np.linalg.norm(xs["best"])
    others = {f"{'>' * late[name]}{name}": seconds[name] for name in late}
    more = {"residual": residuals["ours"], "of lsmr": residuals["best"]}
    return Times(case, seconds["ours"], others, None, apart, bool(well), more, ours.method)


if __name__ == "__main__":
    parts = (line, singular, iterations, deblurring, circles, rings, kinds)
    main(__doc__, {part.__name__: part for part in parts}, ["scikit-image"])
