"""Singular values, bounds of norms and norms: ours beside what is published, in one run, results compared.

    python benchmarks/spectra.py [--part values|strided|bounds|random|norm] [--only TEXT] [--quick] [--json FILE]

Each published method is written from its formula (`published`). ``other / ours`` above 1 means that ours is the faster.
"""

import functools
import itertools
import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import published
import scipy.sparse.linalg
from measuring import Times, Values, main, medians, seconds_of

import convmtx as cm

BOUNDARIES = ["zero", "wrap", "reflect", "symmetric", "edge"]
#: What rounding may make of a bound or of a reference.
ROUNDING = 1e-12


# All singular values, wrap boundary


class Torus(NamedTuple):
    """Gaussian kernels (channels, channels, taps, taps) on n x n."""

    channels: int
    n: int
    taps: int = 3
    stride: int = 1

    @property
    def name(self):
        """Name of the case in tables."""
        return f"{self.n}x{self.n} k{self.taps}x{self.taps} {self.channels}->{self.channels}"


#: The five shapes that the first aim is about, then 3x3 kernels over channels and sizes, larger kernels, strides.
AIMED = [Torus(4, 64), Torus(16, 32), Torus(64, 32), Torus(128, 16), Torus(256, 8)]
GRID = [Torus(c, n) for c in (4, 16, 64, 128) for n in (16, 32, 64, 128, 224) if c**3 * n**2 <= 6e8]
TORI = [*AIMED, *(torus for torus in GRID if torus not in AIMED), Torus(4, 64, 11), Torus(16, 64, 11)]
STRIDED = [Torus(16, 32, 3, 2), Torus(16, 64, 4, 2), Torus(64, 32, 3, 2), Torus(64, 16, 7, 2)]


def values(quick):
    """All singular values, wrap boundary.

    Compared with `numpy.fft.fft2` and batched SVD (Sedghi et al., 2019), and with symbols summed tap by tap (LFA:
    van Betteray et al., 2025). The difference is relative to the largest value. Aim: other / ours at least 3,
    difference at most 1e-12.
    """
    for torus in TORI:
        if not quick or torus.channels**3 * torus.n**2 <= 3e5:
            yield torus.name, partial(on_torus, torus, {"fft2": published.circular, "LFA": published.fourier_analysed})


def strided(quick):
    """All singular values, wrap boundary, stride 2.

    Compared with the polyphase components, `numpy.fft.fft2` and batched SVD (Senderovich et al., 2022).
    """
    polyphase = partial(published.polyphase, stride=2)
    for torus in STRIDED[: 1 if quick else None]:
        yield torus.name, partial(on_torus, torus, {"polyphase": polyphase})


def on_torus(torus, others, case, repeat):
    K = np.random.default_rng(0).standard_normal((torus.channels, torus.channels, torus.taps, torus.taps))
    shape, pad = (torus.channels, torus.n, torus.n), (torus.taps - 1) // 2
    pads = [(pad, torus.taps - torus.stride - pad)] * 2  # n / stride outputs
    op = cm.conv(K, shape, channels="first", stride=torus.stride, padding=pads, boundary="wrap")
    ways = {
        "ours": lambda: np.asarray(cm.svdvals(op)),
        **{name: partial(way, K, torus.n) for name, way in others.items()},
    }
    seconds, results = medians(ways, repeat)
    error = max(np.abs(results[name] - results["ours"]).max() for name in others) / results["ours"][0]
    return Times(case, seconds.pop("ours"), seconds, None, error, bool(error <= 1e-12))


# Bounds of the norm, zero boundary 'same'


def gaussian(rng, shape):
    return rng.standard_normal(shape)


def uniform(rng, shape):
    return rng.random(shape)


def torch_default(rng, shape):
    limit = np.prod(shape[1:]) ** -0.5
    return rng.uniform(-limit, limit, shape)


LAWS = {"normal": gaussian, "uniform": uniform, "torch": torch_default}


def same(K, n):
    """The map of a kernel (co, ci, h, w) on n x n with zeros around."""
    return cm.conv(K, (K.shape[1], n, n), channels="first", padding="same")


def our_bound(name, K, n):
    return float(cm.norm_bound(same(K, n), method=name))


def blurs():
    """Point spread functions and stencils of image processing by name, (h, w)."""
    bell = np.exp(-(np.arange(-3, 4) ** 2) / (2 * 1.5**2))
    return {
        "Gauss": np.outer(bell, bell) / bell.sum() ** 2,
        "box": np.full((3, 3), 1 / 9),
        "motion": np.eye(9) / 9,
        "Laplacian": np.array([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]]),
        "Sobel": np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]),
    }


@dataclass(frozen=True, eq=False)
class Case:
    """Kernels of one law on n x n."""

    law: str
    kernels: list
    n: int
    large: bool = False

    @functools.cached_property
    def references(self):
        """Norm of the map of each kernel, to rounding; at most 1e-6 below it if that takes minutes."""
        return [self.reference(same(K, self.n)) for K in self.kernels]

    def reference(self, op):
        """The norm of a map."""
        if self.large:
            return cm.norm(op, rtol=1e-6).lower
        matrix = op.to_sparse("csr")
        return scipy.sparse.linalg.svds(matrix, k=1, tol=1e-10, return_singular_vectors=False, random_state=0)[0]


SMALL = [((8, 8, 3, 3), 8), ((8, 8, 3, 3), 16), ((8, 8, 3, 3), 32), ((4, 4, 3, 3), 16), ((6, 12, 3, 3), 16),
         ((8, 8, 5, 5), 16), ((16, 16, 5, 5), 12), ((4, 8, 7, 7), 12)]  # fmt: skip
#: Convolutions of ResNet-18: shape, size here (for images of 224 x 224 it is 224, 56, 28, 14, 7), laws.
RESNET = [((64, 3, 7, 7), 56, LAWS), ((64, 64, 3, 3), 28, ["torch"]), ((128, 128, 3, 3), 14, ["torch"]),
          ((256, 256, 3, 3), 14, ["torch"])]  # fmt: skip


@functools.cache
def cases(quick):
    """All of them."""
    return list(drawn(quick))


def drawn(quick):
    rng = np.random.default_rng(0)
    for (shape, n), law in itertools.product(SMALL[: 3 if quick else None], LAWS):
        yield Case(law, [LAWS[law](rng, shape) for _ in range(1 if quick else 4)], n)
    for (name, blur), n in itertools.product(blurs().items(), (15, 16)):
        yield Case(name, [blur[None, None]], n)
    for shape, n, laws in [] if quick else RESNET:
        for law in laws:
            yield Case(law, [LAWS[law](rng, shape)], n, large=True)


class Method(NamedTuple):
    """A way to a number that is at least the norm (``bound``), or not always; of kernels with so many channels."""

    title: str
    value: Callable[[np.ndarray, int], float]
    bound: bool = True
    most: int = 512


PUBLISHED = {
    "four": Method("four reshapes (Singla, Feizi)", lambda K, _: published.fantastic_four(K)),
    "rows": Method("LipGrid by row (Araujo)", lambda K, _: published.lip_grid(K)),
    "joint": Method("LipGrid, Frobenius (Araujo)", lambda K, _: published.lip_grid_joint(K)),
    "toep": Method("norm2toep, 5 squarings (Delattre 2024)", lambda K, _: published.norm2toep(K), most=64),
    "corr": Method("torus corrected (Delattre 2024)", published.circular_corrected),
    "l1linf": Method("l1 linf (Young)", lambda K, _: published.young(K)),
    "four50": Method("four reshapes, 50 iterations", lambda K, _: published.fantastic_four_iterated(K), bound=False),
    "tensor": Method("tensor norm (Grishina)", lambda K, _: published.tensor_norm(K), bound=False),
    "torus": Method("torus (Sedghi)", published.circular_norm, bound=False),
    "tgram": Method("torus, Gram iteration (Delattre 2023)", published.gram_iterated, bound=False),
    "power": Method("power iteration, 100 (Ryu)", published.power_iterated, bound=False),
    "torch": Method("one reshape (torch)", lambda K, _: published.reshaped_norm(K), bound=False),
}
OURS = ("best", "theta", "gram", "sup", "fantastic4", "young")
METHODS = {
    **{name: Method(f"ours: {name}", partial(our_bound, name), most=32 if name == "gram" else 512) for name in OURS},
    **PUBLISHED,
}


def bounds(quick):
    """Bounds of the norm.

    Zero boundary, 'same'. Each bound is divided by the norm, so 1 is the best. Kernels are normal, uniform, and as
    PyTorch initialises them, with 3x3 to 7x7 taps; there are also blurs and stencils. The norm is `svds` to 1e-10 on
    the matrix. For kernels of ResNet-18 this would take minutes. There, the norm is the lower end of `cm.norm` to
    1e-6, and most images are smaller than in the network. The columns:

    - bound: whether the method is a bound by theory. Some published methods are not.
    - mean: the mean over the kernels.
    - best: the mean of ours, "best", over the same kernels. Some methods take minutes for many channels, and those
      kernels are left out.
    - large: the largest ratio.
    - below: how many values lie below the norm.
    - s: seconds for all kernels together.

    Aim: "best" is never below the norm, and is less than each published bound that is not below the norm either.
    """
    for method in METHODS.values():
        yield method.title, partial(of_method, method, quick)


def of_method(method, quick, case, _repeat):
    ratios, seconds = against(method, quick)
    best = {key: values for key, values in against(METHODS["best"], quick)[0].items() if key in ratios}
    everything = [ratio for values in ratios.values() for ratio in values]
    below = sum(ratio < 1 - ROUNDING for ratio in everything)
    ours, theirs = (statistics.mean(map(statistics.mean, table.values())) for table in (best, ratios))
    of_law = defaultdict(list)
    for (law, _), values in ratios.items():
        of_law[law if law in LAWS else "blurs"].append(statistics.mean(values))
    row = {
        "bound": "yes" if method.bound else "no", "mean": f"{theirs:.4f}", "best": f"{ours:.4f}",
        "large": f"{max(everything):.3f}", "below": f"{below} of {len(everything)}", "s": seconds,
        **{law: f"{statistics.mean(of_law[law]):.4f}" if law in of_law else "-" for law in (*LAWS, "blurs")},
    }  # fmt: skip
    if method.title.startswith("ours"):
        return Values(case, row, below == 0)
    return Values(case, row, not method.bound or below > 0 or ours <= theirs * (1 + ROUNDING))


@functools.cache
def against(method, quick):
    """Values over the norms of each case, by law and name, and the seconds of all of them together."""
    ratios, total = {}, 0.0
    for number, case in enumerate(cases(quick)):
        if max(case.kernels[0].shape[:2]) <= method.most:
            runs = [seconds_of(partial(method.value, K, case.n)) for K in case.kernels]
            ratios[case.law, number] = [value / norm for (_, value), norm in zip(runs, case.references, strict=True)]
            total += sum(seconds for seconds, _ in runs)
    return ratios, total


def random(quick):
    """Our bounds on random maps.

    Compared with norms of dense matrices. Maps have one or two axes, 1 to 5 taps, and any stride, dilation, groups,
    padding and boundary. Aim: no bound below its norm.
    """
    for name in OURS:
        yield name, partial(on_small_maps, name, 50 if quick else 1000)


def on_small_maps(method, count, case, _repeat):
    ratios = [float(cm.norm_bound(op, method=method)) / norm for op, norm in small_maps(count)]
    below = sum(ratio < 1 - ROUNDING for ratio in ratios)
    return Values(case, {"below": f"{below} of {count}", "least bound / norm": f"1 {min(ratios) - 1:+.0e}"}, not below)


@functools.cache
def small_maps(count):
    """So many maps and their norms."""
    rng, maps = np.random.default_rng(1), []
    while len(maps) < count:
        op = small_map(rng)
        norm = np.linalg.norm(op.to_dense(), 2) if op is not None else 0
        maps += [(op, norm)] if norm else []
    return maps


def small_map(rng):
    """A random convolution, or None where the geometry that was drawn is none."""
    d = int(rng.integers(1, 3))
    n, k, stride, dilation = (tuple(map(int, rng.integers(1, top, d))) for top in (9, 6, 4, 3))
    groups = int(rng.integers(1, 3))
    shape = (groups * int(rng.integers(1, 4)), int(rng.integers(1, 4)), *k)
    K = LAWS[rng.choice(list(LAWS))](rng, shape)
    if rng.random() < 0.2:
        K = K + 1j * rng.standard_normal(shape)
    padding = ["valid", "same", "same_lower", "full", [tuple(map(int, rng.integers(0, 4, 2))) for _ in range(d)]]
    try:
        return cm.conv(
            K, (groups * shape[1], *n), channels="first", groups=groups, stride=stride, dilation=dilation,
            padding=padding[rng.integers(5)], boundary=str(rng.choice(BOUNDARIES)),
        )  # fmt: skip
    except ValueError:
        return None


# The norm to a tolerance


def norm(quick):
    """The norm to 1e-6, with proof.

    Zero boundary, 'same', normal kernels. Compared with `scipy.sparse.linalg.svds` on a CSR matrix that was built
    before, once to its default tolerance (rounding) and once to 1e-6. Aim: the interval has a relative width of at
    most 1e-6 and contains the value of svds; other / ours at least 10.
    """
    for channels, n in [(8, 12)] if quick else [(16, 28), (64, 28)]:
        yield f"{n}x{n} k3x3 {channels}->{channels}", partial(interval, channels, n)


def interval(channels, n, case, _repeat):
    op = same(np.random.default_rng(0).standard_normal((channels, channels, 3, 3)), n)
    matrix = op.to_sparse("csr")
    options = {"k": 1, "return_singular_vectors": False, "random_state": 0}
    ways = {
        "ours": lambda: cm.norm(op, rtol=1e-6),
        "svds": lambda: scipy.sparse.linalg.svds(matrix, **options)[0],
        "svds to 1e-6": lambda: scipy.sparse.linalg.svds(matrix, tol=1e-6, **options)[0],
    }
    seconds, results = medians(ways, 1)
    ours = results.pop("ours")
    width = (ours.upper - ours.lower) / ours.upper
    inside = ours.lower * (1 - ROUNDING) <= results["svds"] <= ours.upper * (1 + ROUNDING) and width <= 1e-6
    error = abs(results["svds"] - ours.value) / ours.value
    return Times(case, seconds.pop("ours"), seconds, None, error, bool(inside), {"width": width}, ours.method)


if __name__ == "__main__":
    main(__doc__, {part.__name__: part for part in (values, strided, bounds, random, norm)})
