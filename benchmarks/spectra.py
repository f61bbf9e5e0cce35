"""Singular values, bounds of norms and norms: ours beside what is published, in one run, results compared.

    python benchmarks/spectra.py [--part circular|bounds|interval|all] [--repeat 5] [--quick]

``circular``: all singular values under the wrap boundary. ``bounds``: bounds of the norm under the zero boundary, over
a reference; each published method is written from its formula (`published`). Then our bounds against dense norms of
small random maps. ``interval``: the norm to 1e-6 beside SciPy on the sparse matrix. Medians over interleaved
repetitions, of bounds the seconds for all kernels together; ``theirs/ours`` above 1 means that ours is the faster.
``--quick`` leaves the large shapes out.
"""

import argparse
import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import published
import scipy
import scipy.sparse.linalg

import convmtx as cm

BOUNDARIES = ["zero", "wrap", "reflect", "symmetric", "edge"]
#: What rounding may make of a bound or of a reference.
ROUNDING = 1e-12


def timed(way):
    start = time.perf_counter()
    result = way()
    return time.perf_counter() - start, result


def medians(ways, repeat):
    """Median seconds of each way, called in turn, and the last results."""
    times, results = defaultdict(list), {}
    for _ in range(repeat):
        for name, way in ways.items():
            seconds, results[name] = timed(way)
            times[name].append(seconds)
    return {name: statistics.median(each) for name, each in times.items()}, results


# All singular values, wrap boundary


class Torus(NamedTuple):
    """Gaussian kernels (channels, channels, taps, taps) on n x n."""

    channels: int
    n: int
    taps: int = 3
    stride: int = 1


#: The five shapes that the target is about, then 3x3 kernels over channels and sizes, larger kernels, strides.
TARGET = [Torus(4, 64), Torus(16, 32), Torus(64, 32), Torus(128, 16), Torus(256, 8)]
GRID = [Torus(c, n) for c in (4, 16, 64, 128) for n in (16, 32, 64, 128, 224) if c**3 * n**2 <= 2.2e9]
TORI = [*TARGET, *(each for each in GRID if each not in TARGET), Torus(4, 64, 11), Torus(16, 64, 11)]
STRIDED = [Torus(16, 32, 3, 2), Torus(16, 64, 4, 2), Torus(64, 32, 3, 2), Torus(64, 16, 7, 2)]


def circular(repeat, quick):
    print("All singular values, wrap boundary: theirs is fft2 + batched svd (Sedghi et al.), LFA sums symbols by taps")
    print(f"{'kernel, image':<26}{'ours ms':>10}{'theirs ms':>10}{'LFA ms':>10}{'theirs/ours':>13}{'LFA/ours':>10}")
    rng = np.random.default_rng(0)
    ratios, errors = {}, []
    for torus in TORI:
        if quick and torus.channels**3 * torus.n**2 > 3e7:
            continue
        op, K = on_torus(torus, rng)
        ways = {
            "ours": lambda op=op: np.asarray(cm.svdvals(op)),
            "theirs": partial(published.circular, K, torus.n),
            "LFA": partial(published.fourier_analysed, K, torus.n),
        }
        ratios[torus], error = compared(K, torus.n, ways, repeat)
        errors.append(error)
    target = [ratio for torus, ratio in ratios.items() if torus in TARGET]
    for which, some in ((f"the first {len(target)}", target), ("all", list(ratios.values()))):
        mean = statistics.geometric_mean(some)
        print(f"theirs/ours of {which}: geometric mean {mean:.2f}, least {min(some):.2f} (wanted >= 3)")

    print("\nThe same with stride 2: theirs is polyphase + fft2 + batched svd (Senderovich et al.)")
    for torus in STRIDED[: 2 if quick else None]:
        op, K = on_torus(torus, rng)
        ways = {
            "ours": lambda op=op: np.asarray(cm.svdvals(op)),
            "theirs": partial(published.polyphase, K, torus.n, torus.stride),
        }
        errors.append(compared(K, torus.n, ways, repeat)[1])
    print(f"worst difference relative to the largest {max(errors):.1e} (wanted <= 1e-12)\n")


def on_torus(torus, rng):
    K = rng.standard_normal((torus.channels, torus.channels, torus.taps, torus.taps))
    shape, pad = (torus.channels, torus.n, torus.n), (torus.taps - 1) // 2
    pads = [(pad, torus.taps - torus.stride - pad)] * 2  # n / stride outputs
    return cm.conv(K, shape, channels="first", stride=torus.stride, padding=pads, boundary="wrap"), K


def compared(K, n, ways, repeat):
    """How much slower theirs is than ours, and the worst difference in units of the largest value."""
    seconds, results = medians(ways, repeat)
    ours = results["ours"]
    error = max(np.abs(values - ours).max() for values in results.values()) / ours[0]
    ratios = {name: seconds[name] / seconds["ours"] for name in ways}
    times = "".join(f"{1e3 * each:>10.1f}" for each in seconds.values())
    lfa = f"{ratios['LFA']:>10.2f}" if "LFA" in ratios else ""
    print(f"{told(K):<16}{f'{n}x{n}':<10}{times}{ratios['theirs']:>13.2f}{lfa}  {error:.0e}", flush=True)
    return ratios["theirs"], error


def told(K):
    return "x".join(map(str, K.shape))


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


class Case(NamedTuple):
    """Kernels of one law on n x n."""

    law: str
    kernels: list
    n: int
    large: bool = False

    @property
    def name(self):
        """How the table tells of it."""
        return f"{self.law} {told(self.kernels[0])} n {self.n}{' ~' if self.large else ''}"

    def reference(self, op):
        """The norm of the map to rounding, or where that takes minutes a value below it by 1e-6 at most."""
        if self.large:
            return cm.norm(op, rtol=1e-6).lower
        matrix = op.to_sparse("csr")
        return scipy.sparse.linalg.svds(matrix, k=1, tol=1e-10, return_singular_vectors=False, random_state=0)[0]


SMALL = [((8, 8, 3, 3), 8), ((8, 8, 3, 3), 16), ((8, 8, 3, 3), 32), ((4, 4, 3, 3), 16), ((6, 12, 3, 3), 16),
         ((8, 8, 5, 5), 16), ((16, 16, 5, 5), 12), ((4, 8, 7, 7), 12)]  # fmt: skip
#: Convolutions of ResNet-18: shape, size here (for images of 224 x 224 it is 224, 56, 28, 14, 7), laws.
RESNET = [((64, 3, 7, 7), 56, LAWS), ((64, 64, 3, 3), 28, LAWS), ((128, 128, 3, 3), 14, LAWS),
          ((256, 256, 3, 3), 14, ["torch"]), ((512, 512, 3, 3), 7, ["torch"])]  # fmt: skip


def cases(quick):
    rng = np.random.default_rng(0)
    for (shape, n), law in itertools.product(SMALL, LAWS):
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
    "toep": Method("norm2toep, 5 squarings (Delattre 2024)", lambda K, _: published.norm2toep(K), most=128),
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


class Row(NamedTuple):
    """What one method gave for the kernels of a case: values over the reference, and seconds."""

    law: str
    ratios: list
    seconds: list

    @property
    def mean(self):
        """Of values over the reference."""
        return statistics.mean(self.ratios)

    @property
    def below(self):
        """How many values are less than the reference."""
        return sum(ratio < 1 - ROUNDING for ratio in self.ratios)


def bounds(quick):
    print(
        "Bounds of the norm, zero boundary, 'same': value over reference, mean over kernels; ! where one is below it."
    )
    print(
        "Methods with * are no bounds by theory. Reference: svds to 1e-10 on the matrix; where that takes minutes (~)"
    )
    print(
        "the lower end of cm.norm to 1e-6, and images smaller than in ResNet-18 for 64x3, 64x64 and 128x128 channels."
    )
    print("toep is left out above 128 channels and our gram above 32, where they take minutes.")
    print(f"{'':<30}" + "".join(f"{name[:6] + '*' * (not method.bound):>8}" for name, method in METHODS.items()))
    rows = {name: {} for name in METHODS}
    for number, case in enumerate(cases(quick)):
        print(f"{case.name:<30}", end="", flush=True)
        found = measured(case)
        for name in METHODS:
            row = found.get(name)
            print(f"{row.mean:>7.4f}{'!' if row.below else ' '}" if row else f"{'-':>7} ", end="")
            if row:
                rows[name][number] = row
        print(flush=True)
    summary(rows)


def measured(case):
    """A row of each method that does kernels of this size."""
    K = case.kernels[0]
    found = {name: Row(case.law, [], []) for name, method in METHODS.items() if max(K.shape[:2]) <= method.most}
    for K in case.kernels:
        reference = case.reference(same(K, case.n))
        for name, row in found.items():
            seconds, value = timed(partial(METHODS[name].value, K, case.n))
            row.ratios.append(value / reference)
            row.seconds.append(seconds)
    return found


def summary(rows):
    """Each method over all its cases, the tightest first; then ours against each bound over the cases of that one."""
    means = {name: statistics.mean(row.mean for row in each.values()) for name, each in rows.items()}
    below = {name: sum(row.below for row in each.values()) for name, each in rows.items()}
    print(f"\n{'mean of value over reference':<40}" + "".join(f"{law:>8}" for law in (*LAWS, "blurs", "all")), end="")
    print(f"{'largest':>9}{'below':>6}{'seconds':>9}{'cases':>6}")
    for name in sorted(rows, key=means.get):
        each = rows[name].values()
        of_law = defaultdict(list)
        for row in each:
            of_law[row.law if row.law in LAWS else "blurs"].append(row.mean)
        print(f"{METHODS[name].title + ' *' * (not METHODS[name].bound):<40}", end="")
        print("".join(f"{statistics.mean(of_law[law]):>8.4f}" for law in (*LAWS, "blurs")), end="")
        print(f"{means[name]:>8.4f}{max(max(row.ratios) for row in each):>9.4f}{below[name]:>6}", end="")
        print(f"{sum(sum(row.seconds) for row in each):>9.2f}{len(each):>6}")
    print(
        f"\nours best: {below['best']} values below the reference (wanted 0); excess over the norm on average, wanted"
    )
    print("less than that of each published bound that is never below:")
    for name in (name for name in PUBLISHED if PUBLISHED[name].bound and not below[name]):
        pairs = [(rows["best"][number].mean, row.mean) for number, row in rows[name].items()]
        ours, theirs = (statistics.mean(each) for each in zip(*pairs, strict=True))
        wins = sum(our <= their * (1 + ROUNDING) for our, their in pairs)
        excess = f"{ours - 1:.4f} < {theirs - 1:.4f} {ours < theirs}"
        print(f"  {excess}, in {wins} of {len(pairs)} cases: {METHODS[name].title}")


def violations(count):
    """Our bounds against dense norms of small random maps with all there is: counted."""
    rng = np.random.default_rng(1)
    below, closest, done = dict.fromkeys(OURS, 0), dict.fromkeys(OURS, np.inf), 0
    while done < count:
        op = small_map(rng)
        exact = np.linalg.norm(op.to_dense(), 2) if op is not None else 0
        if exact == 0:
            continue
        done += 1
        for name in OURS:
            ratio = float(cm.norm_bound(op, method=name)) / exact
            below[name] += ratio < 1 - ROUNDING
            closest[name] = min(closest[name], ratio)
    print(f"\nour bounds against dense norms of {count} random maps (d 1 or 2, k 1 to 5, any stride, dilation, groups,")
    print("padding and boundary): below the norm (wanted 0), and the least ratio less 1")
    for name in OURS:
        print(f"  {name:<12}{below[name]:>5}{closest[name] - 1:>10.0e}")
    print(f"  together {sum(below.values())}\n")


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


def interval(repeat, quick):
    channels, n = (16, 28) if quick else (64, 56)
    K = np.random.default_rng(0).standard_normal((channels, channels, 3, 3))
    op = same(K, n)
    matrix = op.to_sparse("csr")
    options = {"k": 1, "return_singular_vectors": False, "random_state": 0}
    ways = {
        "ours": lambda: cm.norm(op, rtol=1e-6),
        "svds": lambda: scipy.sparse.linalg.svds(matrix, **options)[0],
        "svds, tol 1e-6": lambda: scipy.sparse.linalg.svds(matrix, tol=1e-6, **options)[0],
    }
    seconds, found = medians(ways, repeat)
    ours = found["ours"]
    print(f"Norm to 1e-6, {told(K)} on {n}x{n}, 'same': svds on the CSR matrix of {matrix.nnz:.2e} entries")
    print(f"  ours [{ours.lower:.9f}, {ours.upper:.9f}], {ours.kind}, {ours.method}")
    print(f"  relative width {(ours.upper - ours.lower) / ours.upper:.1e} (wanted <= 1e-6)")
    print(f"  {'ours':<16}{seconds['ours']:>9.2f} s")
    for name, wanted in (("svds", " (wanted >= 10)"), ("svds, tol 1e-6", "")):
        inside = ours.lower * (1 - ROUNDING) <= found[name] <= ours.upper * (1 + ROUNDING)
        where = "inside" if inside else f"{found[name] / ours.lower - 1:.0e} from our lower end"
        ratio = seconds[name] / seconds["ours"]
        print(f"  {name:<16}{seconds[name]:>9.2f} s  {found[name]:.9f}, {where}   theirs/ours {ratio:.1f}{wanted}")
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("circular", "bounds", "interval", "all"), default="all")
    parser.add_argument("--repeat", type=int, help="5, and 1 for the interval")
    parser.add_argument("--quick", action="store_true", help="small shapes only")
    given = parser.parse_args()
    print(f"convmtx {cm.__version__}, numpy {np.__version__}, scipy {scipy.__version__}\n")
    if given.part in ("circular", "all"):
        circular(given.repeat or 5, given.quick)
    if given.part in ("bounds", "all"):
        bounds(given.quick)
        violations(200 if given.quick else 3000)
    if given.part in ("interval", "all"):
        interval(given.repeat or 1, given.quick)


if __name__ == "__main__":
    main()
