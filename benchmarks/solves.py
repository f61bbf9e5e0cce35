"""Least squares with convolutions: ours beside SciPy, NumPy and scikit-image, in one run, results compared.

    python benchmarks/solves.py [--part line|preconditioned|circular|grid|all] [--repeat 5] [--quick]

``line``: along one axis, beside the Toeplitz, banded and sparse solvers. ``preconditioned``: deblurring with zeros
around, beside LSMR. ``circular``: with wrap, beside the FFTs alone. ``grid``: all kinds of maps, beside LSMR on the CSR
matrix and on the map. Medians over interleaved repetitions, fewer where they take long; ``theirs/ours`` above 1 means
that ours is the faster. ``--quick`` leaves the large shapes out.

Normal residuals are ``norm(A.H (b - A x) - damp**2 x) / norm(A.H b)``, always computed from x.
"""

import argparse
import statistics
import time
import warnings
from collections import defaultdict
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy
import scipy.fft
import scipy.linalg
import scipy.sparse.linalg
from scipy.sparse.linalg import LinearOperator, cg, lsmr

import convmtx as cm

try:
    import skimage
    from skimage import restoration
except ImportError:
    restoration = None

EPS = np.finfo(float).eps


def timed(way):
    start = time.perf_counter()
    result = way()
    return time.perf_counter() - start, result


def medians(ways, repeat, budget=10.0):
    """Median seconds of each way, called in turn, and the last results; a way that took ``budget`` s has had its turns.

    A way prepares, not timed, and returns what is timed.
    """
    times, results = defaultdict(list), {}
    for _ in range(repeat):
        for name, way in ways.items():
            if sum(times[name]) < budget:
                seconds, results[name] = timed(way())
                times[name].append(seconds)
    return {name: statistics.median(each) for name, each in times.items()}, results


def ready(function, *args, **options):
    """A way that prepares nothing."""
    return lambda: partial(function, *args, **options)


def bell(k, sigma):
    """A Gaussian of k taps that sum to 1."""
    taps = np.exp(-((np.arange(k) - (k - 1) / 2) ** 2) / (2 * sigma**2))
    return taps / taps.sum()


def normal_residual(op, b, x, damp=0.0):
    """Norm of the gradient at x over that at zero."""
    x = np.reshape(x, op.in_shape)
    return np.linalg.norm(op.H(b - op(x)) - damp**2 * x) / np.linalg.norm(op.H(b))


def ms(seconds):
    """Milliseconds of a table."""
    return f"{'-':>10}" if seconds is None else f"{1e3 * seconds:>10.2f}"


def over(theirs, ours):
    """theirs/ours of a table."""
    return f"{'-':>10}" if theirs is None else f"{theirs / ours:>10.2f}"


# Along one axis


class Line(NamedTuple):
    """n samples and k taps of a Gaussian, zeros around."""

    n: int
    k: int = 7

    @property
    def kernel(self):
        """Its symbol is positive: sigma 1, and less for three taps."""
        return bell(self.k, 1.0 if self.k > 3 else 0.6)


LINES = [Line(2048), *(Line(n) for n in (256, 1024, 8192, 65536)), *(Line(2048, k) for k in (3, 15, 31)),
         Line(65536, 3), Line(65536, 31)]  # fmt: skip
LINE_WAYS = ("ours", "again", "toeplitz", "spsolve", "banded")
TOEPLITZ = 8192  # samples above which solve_toeplitz, of n**2 steps, is left out


def line(repeat, quick):
    print("One axis, Gaussian, zero boundary, 'same', a random right side. ours: cm.solve, all of it; again: .solve of")
    print("a factorisation; toeplitz: solve_toeplitz; spsolve: of a CSR matrix made before; banded: solve_banded of a")
    print("band made before, the limit. Milliseconds; relative residuals in the same order.")
    print(f"{'n, taps':<12}" + "".join(f"{name:>10}" for name in LINE_WAYS), end="")
    print(f"{'toep/ours':>10}{'sps/ours':>10}{'band/ours':>10}  residuals; method")
    for each in LINES[: 4 if quick else None]:
        row, ways = on_line(each, np.random.default_rng(0).standard_normal(each.n))
        seconds, found = medians(ways, repeat)
        print(f"{f'{each.n}, {each.k}':<12}" + "".join(ms(seconds.get(name)) for name in LINE_WAYS), end="")
        print("".join(over(seconds.get(name), seconds["ours"]) for name in ("toeplitz", "spsolve", "banded")), end="")
        residuals = (f"{row(found[name]):.0e}" if name in found else "-" for name in LINE_WAYS)
        print("  " + " ".join(residuals), found["ours"].method, flush=True)
    for n in (2048, 2047):
        indefinite(n)
    print()


def on_line(each, b):
    """The relative residual as a function of what a way returns, and the ways."""
    op, ways = cm.conv(each.kernel, each.n, padding="same"), {}
    matrix, bands = op.to_sparse("csr"), (each.k // 2, each.k // 2)
    factors, band = cm.factorize(op), banded(matrix, bands[0])
    first = matrix[:, [0]].toarray().ravel()
    ways["ours"] = lambda: partial(cm.solve, cm.conv(each.kernel, each.n, padding="same"), b)
    ways["again"] = ready(factors.solve, b)
    if each.n <= TOEPLITZ:
        ways["toeplitz"] = ready(scipy.linalg.solve_toeplitz, first, b)
    ways["spsolve"] = ready(scipy.sparse.linalg.spsolve, matrix, b)
    ways["banded"] = ready(scipy.linalg.solve_banded, bands, band, b)
    return lambda result: np.linalg.norm(matrix @ getattr(result, "x", result) - b) / np.linalg.norm(b), ways


def banded(matrix, reach):
    """The band of a square matrix as LAPACK stores it."""
    band = np.zeros((2 * reach + 1, matrix.shape[0]))
    for offset in range(-reach, reach + 1):
        diagonal = matrix.diagonal(offset)
        band[reach - offset, max(offset, 0) : max(offset, 0) + diagonal.size] = diagonal
    return band


def indefinite(n):
    """What each says to [1, 0, -1]: every leading minor of odd size is zero."""
    op = cm.conv([1.0, 0.0, -1.0], n, padding="same")
    b = np.random.default_rng(0).standard_normal(n)
    matrix = op.to_sparse("csr")
    column, row = matrix[:, [0]].toarray().ravel(), matrix[[0]].toarray().ravel()
    print(f"[1, 0, -1] on {n} samples{'' if n % 2 == 0 else ', which is singular'}:")
    ways = {
        "ours": partial(cm.solve, op, b),
        "solve_toeplitz": partial(scipy.linalg.solve_toeplitz, (column, row), b),
        "spsolve": partial(scipy.sparse.linalg.spsolve, matrix, b),
        "solve_banded": partial(scipy.linalg.solve_banded, (1, 1), banded(matrix, 1), b),
    }
    for name, way in ways.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                result = way()
            except np.linalg.LinAlgError as error:
                print(f"  {name:<16}{type(error).__name__}: {error}")
                continue
        x = getattr(result, "x", result)
        said = f"residual {np.linalg.norm(op(x) - b) / np.linalg.norm(b):.1e}"
        said += f", normal residual {normal_residual(op, b, x):.1e}, norm of x {np.linalg.norm(x):.4g}"
        said += f", {result.method}" if name == "ours" else ""
        print(f"  {name:<16}{said}{''.join(f', {each.category.__name__}' for each in caught)}")


# Preconditioned


def motion(k):
    """A line of k taps along the diagonal."""
    return np.eye(k) / k


BLURS = {"Gauss": np.outer(bell(9, 2.0), bell(9, 2.0)), "motion": motion(9)}
KINDS = ("embedded", "strang", "tchan", "dct", "kron")
GOAL = 1e-8  # the normal residual that everybody is to reach


def preconditioned(repeat, quick):
    print(f"9x9 taps, zero boundary, 'same', a random right side, to a normal residual of {GOAL:.0e}. Iterations of")
    print("SciPy's cg on the normal equations, plain and with M = cm.preconditioner(op, kind), '-' where one refuses,")
    print("'>' where it stopped short; and of cm.solve(method='preconditioned'). wanted: plain/ours >= 4")
    problems = [(name, n, square) for name in BLURS for n in (32, 64, 128, 256) for square in (1e-2, 1e-4)]
    problems = [each for each in problems if each[1] <= (64 if quick else 256)]
    print(f"{'kernel, n, damp^2':<24}{'plain':>8}" + "".join(f"{kind:>10}" for kind in KINDS), end="")
    print(f"{'ours':>8}{'plain/ours':>12}")
    for name, n, square in problems:
        counted(f"{name} {n} {square:.0e}", *deblurring(name, n), square**0.5)
    print("\nSeconds of all of it, each with the loosest of a few tolerances that brings the true normal residual to")
    print(f"{GOAL:.0e}: cm.solve as it chooses, preconditioned, SciPy's lsmr on the CSR matrix made before, and on op.")
    print("A+AH: ms of applying both once; share: what these are of the seconds of preconditioned.")
    heads = ("auto s", "precond", "csr", "op", "csr/auto", "csr/prec", "op/prec", "A+AH", "share")
    print(f"{'kernel, n, damp^2':<24}" + "".join(f"{head:>9}" for head in heads) + "  normal residuals; auto's method")
    for name, n, square in problems:
        raced(f"{name} {n} {square:.0e}", *deblurring(name, n), square**0.5, repeat)
    print()


def deblurring(name, n):
    return cm.conv(BLURS[name], (n, n), padding="same"), np.random.default_rng(0).standard_normal((n, n))


def counted(title, op, b, damp):
    """A row of iterations."""
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
    print(f"{title:<24}{plain:>8}", end="", flush=True)
    print("".join(f"{of_kind(kind):>10}" for kind in KINDS), end="", flush=True)
    ours = reached(partial(our_solution, op, b, damp, "preconditioned"), op, b, damp)[1]
    print(f"{ours.iterations:>8}{int(plain.strip('>')) / max(ours.iterations, 1):>12.1f}", flush=True)


def our_solution(op, b, damp, method, tolerance):
    return cm.solve(op, b, damp=damp, method=method, rtol=tolerance)


def their_solution(matrix, b, damp, tolerance):
    return lsmr(matrix, b.ravel(), damp=damp, atol=tolerance, btol=tolerance, conlim=0, maxiter=10000)[0]


def reached(way, op, b, damp):
    """The loosest of a few tolerances that brings the true normal residual to the goal, and what the way gave."""
    best, tolerance = None, GOAL
    for _ in range(5):
        result = way(tolerance)
        ratio = GOAL / max(normal_residual(op, b, getattr(result, "x", result), damp), 1e-99)
        if ratio >= 1:
            best = tolerance, result
        if not getattr(result, "iterations", 1) or (best and ratio < 3):  # direct, near enough, or too loose now
            break
        tolerance *= min(max(ratio / 1.5, 1e-6), 1e3)
    return best or (tolerance, result)


def raced(title, op, b, damp, repeat):
    """A row of seconds."""
    matrix = op.to_sparse("csr")
    kinds = {
        "auto": partial(our_solution, op, b, damp, "auto"),
        "preconditioned": partial(our_solution, op, b, damp, "preconditioned"),
        "csr": partial(their_solution, matrix, b, damp),
        "op": partial(their_solution, op, b, damp),
    }
    tolerances = {name: reached(way, op, b, damp)[0] for name, way in kinds.items() if name != "csr"}
    ways = {name: ready(way, tolerances.get(name, tolerances["op"])) for name, way in kinds.items()}  # csr: as op
    both = statistics.median(timed(lambda: op.H(op(b)))[0] for _ in range(15))
    seconds, found = medians(ways, repeat)
    chosen, ours = seconds["auto"], seconds["preconditioned"]
    ratios = [seconds["csr"] / chosen, seconds["csr"] / ours, seconds["op"] / ours]
    share = found["preconditioned"].iterations * both / ours
    print(f"{title:<24}" + "".join(f"{each:>9.3f}" for each in seconds.values()), end="")
    print("".join(f"{ratio:>9.2f}" for ratio in ratios) + f"{1e3 * both:>9.2f}{share:>9.0%}", end="  ")
    print(" ".join(f"{normal_residual(op, b, getattr(each, 'x', each), damp):.0e}" for each in found.values()), end=" ")
    print(found["auto"].method, flush=True)


# On circles


def circular(repeat, quick):
    damp, rng = 1e-2, np.random.default_rng(0)
    K = np.outer(bell(9, 2.0), bell(9, 2.0))
    print(f"9x9 Gauss, wrap, damp {damp}: cm.solve, all of it, and .solve of a factorisation, beside the transforms of")
    print("the image alone (rfft2 and irfft2 of scipy.fft, 2 workers: the limit) and all of it by scipy.fft, numpy.fft")
    print("and skimage.restoration.wiener. ms; wanted: solve / FFTs <= 1.5. Last, what differs most from ours.")
    heads = ("solve", "again", "FFTs", "scipy", "numpy", "skimage")
    ratios = ("solve/FFTs", "again/FFTs", "sci/solve", "ski/solve")
    print(f"{'image':<12}" + "".join(f"{head:>11}" for head in (*heads, *ratios)))
    for n in (256, 1000, 1024) if quick else (256, 1000, 1024, 1021, 2048):
        op, b = on_circle(K, (n, n)), rng.standard_normal((n, n))
        factors = cm.factorize(op, damp=damp)
        ways = {
            "solve": lambda n=n, b=b: partial(cm.solve, on_circle(K, (n, n)), b, damp=damp),
            "again": ready(factors.solve, b),
            "FFTs": ready(there_and_back, b),
            "scipy": ready(by_transforms, scipy.fft, K, b, damp, workers=2),
            "numpy": ready(by_transforms, np.fft, K, b, damp),
        }
        if restoration:
            impulse = np.ones((n, n // 2 + 1), complex)
            options = {"reg": impulse, "is_real": True, "clip": False}
            ways["skimage"] = ready(restoration.wiener, b, K, damp**2, **options)
        seconds, found = medians(ways, repeat)
        x = found["solve"].x
        others = {name: getattr(each, "x", each) for name, each in found.items() if name not in ("solve", "FFTs")}
        worst = max(others, key=lambda name: np.abs(others[name] - x).max())
        print(f"{f'{n} x {n}':<12}" + "".join(f" {ms(seconds.get(name))}" for name in heads), end="")
        print(f"{seconds['solve'] / seconds['FFTs']:>11.2f}{seconds['again'] / seconds['FFTs']:>11.2f}", end="")
        print("".join(f" {over(seconds.get(name), seconds['solve'])}" for name in ("scipy", "skimage")), end="  ")
        print(f"{worst} {np.abs(others[worst] - x).max() / np.abs(x).max():.0e}, {found['solve'].method}", flush=True)
    ring(repeat)
    print()


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


def ring(repeat):
    print("One axis, 7 taps, damp 0, beside scipy.linalg.solve_circulant")
    print(f"{'n':<12}{'solve':>10}{'again':>10}{'scipy':>10}{'theirs/ours':>13}")
    for n in (4096, 65536, 2**20):
        op, b = on_circle(bell(7, 1.0), n), np.random.default_rng(0).standard_normal(n)
        ways = {
            "solve": lambda n=n, b=b: partial(cm.solve, on_circle(bell(7, 1.0), n), b),
            "again": ready(cm.factorize(op).solve, b),
            "scipy": ready(scipy.linalg.solve_circulant, op(np.eye(1, n)[0]), b),
        }
        seconds, found = medians(ways, repeat)
        x = found["solve"].x
        print(f"{n:<12}" + "".join(ms(each) for each in seconds.values()), end="")
        print(f"{seconds['scipy'] / seconds['solve']:>13.2f}  {np.abs(found['scipy'] - x).max() / np.abs(x).max():.0e}")


# Maps of all kinds


class Problem(NamedTuple):
    """Kernels of one law on images n, with c channels to f."""

    n: tuple
    k: tuple
    law: str = "random"
    damp: float = 0.0
    c: int = 1
    f: int = 1
    transposed: bool = False
    options: dict[str, Any] = {}  # noqa: RUF012  # never changed

    @property
    def name(self):
        """How the table tells of it."""
        told = [f"{'x'.join(map(str, self.n))} {'x'.join(map(str, self.k))} {self.law}"]
        told += [f"{self.c}->{self.f}"] if self.c * self.f > 1 else []
        told += ["transposed"] if self.transposed else []
        padding = self.options.get("padding", "valid")
        told += [padding if isinstance(padding, str) else "causal"]
        told += [f"{key} {value}" for key, value in self.options.items() if key in ("stride", "dilation")]
        boundary = self.options.get("boundary", "zero")
        return " ".join([*told, boundary if isinstance(boundary, str) else "+".join(boundary)])

    def kernel(self):
        """Well conditioned (sharp, causal), random, or hardly invertible (Gauss, motion)."""
        channels = (self.f, self.c) if self.transposed else (self.c, self.f)
        K = np.random.default_rng(0).standard_normal((*self.k, *channels))
        K /= np.prod(K.shape[:-1]) ** 0.5
        if self.law in ("sharp", "causal"):
            K *= 0.3
            K[tuple(k - 1 if self.law == "causal" else k // 2 for k in self.k)] += np.eye(*channels)
        if self.law in ("Gauss", "motion"):
            image = motion(self.k[0]) if self.law == "motion" else outer(*(bell(k, k / 4) for k in self.k))
            K = np.multiply.outer(image, np.eye(*channels) + 0.2 * K[(0,) * len(self.k)])
        return K if self.c * self.f > 1 else K[..., 0, 0]

    def op(self):
        """The map."""
        shape = (*self.n, self.c) if self.c * self.f > 1 else self.n
        return (cm.conv_transpose if self.transposed else cm.conv)(self.kernel(), shape, **self.options)


def outer(*lines):
    return np.multiply.outer(lines[0], outer(*lines[1:])) if len(lines) > 1 else lines[0]


def same(boundary="zero", **options):
    return {"padding": "same", "boundary": boundary, **options}


PROBLEMS = [
    # one axis
    Problem((2048,), (7,), "sharp", options=same()), Problem((2048,), (9,), "Gauss", 1e-2, options=same()),
    Problem((65536,), (7,), "Gauss", 1e-1, options=same("edge")),
    Problem((4096,), (5,), "causal", options={"padding": [(4, 0)]}),
    Problem((2048,), (9,), "Gauss", options={"padding": "full"}), Problem((1024,), (9,)),
    Problem((512,), (5,), "random", 1e-3, 4, 8, options=same(stride=2)),
    Problem((4096,), (7,), "Gauss", 1e-3, options=same("wrap")),
    Problem((2048,), (5,), "sharp", options=same("reflect")),
    Problem((1024,), (7,), "Gauss", 1e-1, options=same(dilation=3)),
    Problem((512,), (4,), "random", 1e-2, 2, 2, True, options={"padding": "same", "stride": 2}),
    # images
    Problem((128, 128), (9, 9), "Gauss", 1e-1, options=same()),
    Problem((96, 96), (9, 9), "Gauss", 1e-2, options=same()),
    Problem((48, 48), (9, 9), "Gauss", 1e-3, options=same()), Problem((64, 64), (9, 9), "motion", 1e-2, options=same()),
    Problem((64, 64), (7, 7), "random", 1e-1, options=same()),
    Problem((96, 96), (9, 9), "Gauss", 1e-2, options=same("wrap")),
    Problem((32, 32), (3, 3), "random", 1e-2, 8, 8, options=same("wrap")),
    Problem((32, 32), (3, 3), "random", 1e-3, 2, 8, options=same("wrap", stride=2)),
    Problem((96, 96), (9, 9), "Gauss", 1e-2, options=same("symmetric")),
    Problem((48, 48), (5, 5), "random", 1e-1, options=same("symmetric")),
    Problem((96, 96), (7, 7), "Gauss", 1e-2, options=same("reflect")),
    Problem((32, 32), (3, 3), "random", 1e-1, 3, 3, options=same("reflect")),
    Problem((64, 64), (9, 9), "motion", 1e-1, options=same("edge")),
    Problem((32, 32), (3, 3), "sharp", 0.0, 4, 4, options=same("edge")),
    Problem((48, 48), (5, 5), options={"padding": "full"}),
    Problem((40, 40), (3, 3), "random", 0.0, 3, 16, options=same(stride=2)), Problem((64, 64), (5, 5)),
    Problem((64, 64), (3, 3), "sharp", options=same(dilation=2)),
    Problem((24, 24), (4, 4), "random", 1e-2, 4, 3, True, options={"padding": "same", "stride": 2}),
    Problem((64, 64), (3, 3), "causal", options={"padding": [(2, 0), (2, 0)]}),
    Problem((24, 24), (3, 3), "random", 1e-2, 8, 8, options=same()),
    Problem((64, 64), (5, 5), "random", 1e-2, options=same(("wrap", "zero"))),
    # volumes
    Problem((20, 20, 20), (3, 3, 3), "Gauss", 1e-1, options=same()),
    Problem((16, 16, 16), (3, 3, 3), "random", 1e-2, 2, 2, options=same("wrap")),
    Problem((16, 16, 16), (5, 5, 5), "Gauss", 1e-2, options=same("symmetric")),
    Problem((14, 14, 14), (3, 3, 3), "random", 0.0, 1, 2, options=same()),
]  # fmt: skip
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


def grid(repeat, quick):
    print("Maps of all kinds: cm.solve by itself beside SciPy's lsmr on the CSR matrix made before and the map, all")
    print(f"to 1e-8, lsmr for {SECONDS:.0f} s at most ('>'). Right sides: the map of noise, and 1e-3 of noise more.")
    print("The ratio is of the quicker lsmr, and so is the normal residual after ours: '~' where ours is at rounding,")
    print("'!' where larger and not so; and how far x is from ours, which means little where lsmr had not arrived.")
    print(f"{'':<58}{'damp':>7}{'ours ms':>10}{'csr ms':>11}{'map ms':>11}{'theirs/ours':>12}  residuals")
    rows = [posed(problem, repeat) for problem in PROBLEMS[:: 4 if quick else 1]]
    ratios = [ratio for ratio, _ in rows]
    worst = int(np.argmin(ratios))
    print(f"{len(rows)} problems: theirs/ours geometric mean {statistics.geometric_mean(ratios):.2f}, worst", end=" ")
    print(f"{ratios[worst]:.2f} ({PROBLEMS[:: 4 if quick else 1][worst].name}), below 1 in", end=" ")
    print(f"{sum(ratio < 1 for ratio in ratios)}; larger normal residual in {sum(bad for _, bad in rows)} (wanted 0)\n")


def posed(problem, repeat):
    """How much slower the quicker LSMR is than ours, and whether ours has the larger normal residual."""
    op, rng, damp = problem.op(), np.random.default_rng(1), problem.damp
    b = op(rng.standard_normal(op.in_shape))
    b += 1e-3 * np.abs(b).max() * rng.standard_normal(b.shape)
    matrix, late = op.to_sparse("csr"), {}
    ways = {"ours": lambda: partial(cm.solve, problem.op(), b, damp=damp)}
    for name, each in (("csr", matrix), ("map", op)):
        steps, late[name] = steps_within(SECONDS, each, b, damp)
        options = {"damp": damp, "atol": 1e-8, "btol": 1e-8, "conlim": 0, "maxiter": steps}
        ways[name] = ready(lsmr, each, b.ravel(), **options)
    seconds, found = medians(ways, repeat, SECONDS)
    xs = {name: np.ravel(found[name].x if name == "ours" else found[name][0]) for name in found}
    residuals = {name: normal_residual(op, b, x, damp) for name, x in xs.items()}
    # rounding of A.H (b - A x), at most
    norm = (scipy.sparse.linalg.norm(matrix, 1) * scipy.sparse.linalg.norm(matrix, np.inf)) ** 0.5
    size = norm * (norm * np.linalg.norm(xs["ours"]) + np.linalg.norm(b)) / np.linalg.norm(op.H(b))
    rounding, best = residuals["ours"] <= 16 * EPS * size, min(("csr", "map"), key=seconds.get)
    larger = residuals["ours"] > 1.01 * residuals[best]
    ratio = seconds[best] / seconds["ours"]
    print(f"{problem.name:<58}{damp:>7g}{ms(seconds['ours'])}", end="")
    print("".join(f"{'>' if late[name] else ' '}{ms(seconds[name])}" for name in ("csr", "map")), end="")
    mark = "~" if rounding else "!" if larger else " "
    apart = np.linalg.norm(xs["ours"] - xs[best]) / np.linalg.norm(xs[best])
    print(f"{ratio:>12.2f}  {residuals['ours']:.0e}{mark} {residuals[best]:.0e}, {apart:.0e} apart", end=" ")
    print(found["ours"].method, flush=True)
    return ratio, larger and not rounding


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {"line": line, "preconditioned": preconditioned, "circular": circular, "grid": grid}
    parser.add_argument("--part", choices=(*parts, "all"), default="all")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small shapes only")
    given = parser.parse_args()
    print(f"convmtx {cm.__version__}, numpy {np.__version__}, scipy {scipy.__version__}", end="")
    print(f", scikit-image {skimage.__version__}\n" if restoration else "\n")
    for name, part in parts.items():
        if given.part in (name, "all"):
            part(given.repeat, given.quick)


if __name__ == "__main__":
    main()
