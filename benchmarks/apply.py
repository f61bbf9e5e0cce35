"""Applying the map: ours beside every library that can do the case, in one run, results compared.

    python benchmarks/apply.py [--repeat 7] [--only TEXT] [--plot apply.png]

Medians over interleaved repetitions. ``peer/ours`` above 1 means that ours is the faster; ``/best`` is our automatic
choice over our own best engine; ``limit`` is how near we are to a copy of input and output, or to the flops as one
GEMM, whichever takes longer; ``adj/fwd`` is the time of the adjoint over that of the map. Peers that are not
installed are left out.
"""

import argparse
import gc
import importlib
import math
import statistics
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import scipy.ndimage
import scipy.signal

import convmtx as cm
from convmtx.engines import select

MODES = {"zero": "constant", "wrap": "wrap", "reflect": "mirror", "symmetric": "reflect", "edge": "nearest"}
TORCH_MODES = {"wrap": "circular", "reflect": "reflect", "edge": "replicate"}


def optional(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


torch, jax, pylops = optional("torch"), optional("jax"), optional("pylops")
if jax:
    jax.config.update("jax_enable_x64", True)


@dataclass
class Case:
    """Channels-first: kernel (F, C/groups, *k) on (C, *n)."""

    n: tuple
    k: tuple
    c: int = 1
    f: int = 1
    dtype: str = "f8"
    batch: int = 1
    adjoint: bool = False
    options: dict = field(default_factory=dict)
    separable: bool = False

    @property
    def name(self):
        """What is told of the case in the table."""
        extra = "".join(f" {key}={value}" for key, value in self.options.items())
        size = "x".join(map(str, self.n))
        taps = "x".join(map(str, self.k))
        side = " adjoint" if self.adjoint else ""
        batch = f" batch {self.batch}" if self.batch > 1 else ""
        outer = " separable" if self.separable else ""
        return f"{self.dtype} {size} k{taps} c{self.c}->{self.f}{outer}{extra}{batch}{side}"

    def make(self, rng):
        """Kernel, an operator for each engine, and the input."""
        groups = self.options.get("groups", 1)
        kernel = values(rng, (self.f, self.c // groups, *self.k), self.dtype)
        if self.separable:
            kernel = kernel[..., :1] * kernel[..., :1, :]
        ops = {e: cm.conv(kernel, (self.c, *self.n), channels="first", engine=e, **self.options) for e in engines(self)}
        shape = ops["auto"].out_shape if self.adjoint else (self.c, *self.n)
        return kernel, ops, values(rng, (self.batch, *shape), self.dtype)


def engines(case):
    """Our engines that can do the case; PyTorch's convolutions are among the peers, not ours."""
    return ["auto", "direct", *(["fft"] if case.dtype != "i8" else []), *(["separable"] if case.separable else [])]


def values(rng, shape, dtype):
    if dtype == "i8":
        return rng.integers(-9, 10, shape)
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape)).astype(dtype) if dtype.startswith("c") else x.astype(dtype)


def same(**options):
    return {"padding": "same", **options}


CASES = [
    # one channel
    Case((4096,), (7,)), Case((4096,), (63,)), Case((1 << 20,), (31,)), Case((1 << 20,), (63,), dtype="f4"),
    Case((512, 512), (3, 3)), Case((1024, 1024), (3, 3), options=same()), Case((1024, 1024), (3, 3), dtype="f4"),
    Case((1024, 1024), (5, 5)), Case((1024, 1024), (7, 7), options=same(boundary="reflect")),
    Case((1024, 1024), (15, 15), options=same(boundary="wrap")), Case((1024, 1024), (31, 31), dtype="f4"),
    Case((1024, 1024), (63, 63), options=same()), Case((2048, 2048), (9, 9), options=same(boundary="symmetric")),
    Case((4096, 4096), (3, 3), dtype="f4"), Case((64, 64, 64), (3, 3, 3)), Case((64, 64, 64), (9, 9, 9)),
    Case((512, 512), (5, 5), dtype="c16"), Case((512, 512), (31, 31), dtype="c16", options=same(boundary="wrap")),
    Case((512, 512), (3, 3), dtype="i8"), Case((256, 256), (7, 7), dtype="i8", options=same(boundary="edge")),
    Case((512, 512), (9, 9), options={"padding": 8, "dilation": 2}), Case((1024, 1024), (5, 5), options={"stride": 2}),
    Case((256, 256), (5, 5), batch=16), Case((28, 28), (5, 5), batch=64),
    Case((1024, 1024), (9, 9), separable=True),
    Case((512, 512), (21, 21), options=same(boundary="reflect"), separable=True),
    # channels
    Case((224, 224), (3, 3), 3, 64, "f4"), Case((224, 224), (3, 3), 3, 64), Case((56, 56), (3, 3), 64, 64, "f4"),
    Case((56, 56), (3, 3), 64, 64, options=same()), Case((14, 14), (3, 3), 512, 512, "f4"),
    Case((224, 224), (7, 7), 3, 64, "f4", options={"stride": 2, "padding": 3}),
    Case((224, 224), (7, 7), 3, 64, options={"stride": 2, "padding": 3}), Case((128, 128), (5, 5), 16, 16, "f4"),
    Case((128, 128), (5, 5), 16, 16), Case((56, 56), (1, 1), 256, 64, "f4"), Case((32, 32), (3, 3), 16, 32, "f4", 32),
    Case((8, 8), (3, 3), 64, 64, "f4", 64), Case((112, 112), (3, 3), 64, 64, "f4", options=same(groups=64)),
    Case((256, 256), (11, 11), 3, 3, "f4", options=same(groups=3), separable=True),
    Case((56, 56), (3, 3), 64, 64, options=same(groups=4)), Case((64, 64), (3, 3), 8, 8, "c16", options=same()),
    Case((64, 64), (3, 3), 8, 8, "i8"), Case((16000,), (9,), 16, 32, "f4"), Case((24, 24, 24), (3, 3, 3), 8, 16),
    Case((128, 128), (3, 3), 8, 8, options=same(boundary="reflect")),
    Case((128, 128), (3, 3), 8, 8, options=same(boundary="wrap", dilation=2)),
    # adjoint
    Case((1024, 1024), (5, 5), adjoint=True, options=same()), Case((512, 512), (31, 31), adjoint=True),
    Case((1024, 1024), (5, 5), adjoint=True, options={"stride": 2}),
    Case((512, 512), (5, 5), adjoint=True, options=same(boundary="reflect")),
    Case((224, 224), (7, 7), 3, 64, "f4", adjoint=True, options={"stride": 2, "padding": 3}),
    Case((128, 128), (5, 5), 16, 16, adjoint=True, options=same()),
]  # fmt: skip


def peers(case, kernel, op, x):
    """What others would call for the same result; each entry is checked against ours before it is timed."""
    found = {}
    options, d = case.options, len(case.n)
    boundary, padding = options.get("boundary", "zero"), options.get("padding", 0)
    plain = case.c == case.f == 1 and not case.adjoint and case.batch == 1
    stride, dilation = options.get("stride", 1), options.get("dilation", 1)
    if op.nnz * 12 < 1.5e9:
        matrix = op.to_sparse()
        matrix = matrix.T.conj().tocsr() if case.adjoint else matrix
        flat = np.ascontiguousarray(x.reshape(case.batch, -1).T)
        shape = (case.batch, *(op.in_shape if case.adjoint else op.out_shape))
        found["csr"] = lambda: (matrix @ flat).T.reshape(shape)
    unfolded = case.batch * case.c * math.prod(case.k) * math.prod(case.n) * 8  # bytes that torch may make of it
    if torch and case.dtype != "i8" and d <= 3 and unfolded < 2e9 and boundary in ("zero", *TORCH_MODES):
        found.update(torch_peers(case, kernel, x, padding, boundary))
    if jax and case.dtype != "i8" and boundary == "zero" and not case.adjoint and math.prod(case.k) <= 225:
        pads = [(a.lo, a.hi) for a in op.geometry.axes]
        run = jax.jit(
            lambda x, k: jax.lax.conv_general_dilated(
                x, k, (stride,) * d, pads, rhs_dilation=(dilation,) * d, feature_group_count=options.get("groups", 1)
            )
        )
        found["jax"] = lambda: np.asarray(run(x, kernel))
    if plain and dilation == 1:
        found.update(scipy_peers(case, kernel[0, 0], x[0, 0], boundary, stride))
    return found


def torch_peers(case, kernel, x, padding, boundary):
    d, o = len(case.n), case.options
    kt, xt = torch.from_numpy(kernel), torch.from_numpy(x)
    functional = torch.nn.functional
    if case.dtype == "c16" or (boundary != "zero" and case.adjoint):
        return {}
    conv = getattr(functional, f"conv{'_transpose' if case.adjoint else ''}{d}d")
    keys = {k: o[k] for k in ("stride", "dilation", "groups") if k in o}
    if padding == "same":
        padding = tuple(o.get("dilation", 1) * (k - 1) // 2 for k in case.k)
    if case.adjoint:
        out = [n - ((n + 2 * p - k) // s * s - 2 * p + k) for n, k, p, s in zip(
            case.n, case.k, np.broadcast_to(padding, d), np.broadcast_to(o.get("stride", 1), d), strict=True
        )]  # fmt: skip
        return {"torch": lambda: conv(xt, kt, padding=padding, output_padding=[int(v) for v in out], **keys).numpy()}
    if boundary == "zero":
        return {"torch": lambda: conv(xt, kt, padding=padding, **keys).numpy()}
    widths = [p for p in reversed(np.broadcast_to(padding, d).tolist()) for _ in range(2)]
    return {"torch": lambda: conv(functional.pad(xt, widths, mode=TORCH_MODES[boundary]), kt, **keys).numpy()}


def scipy_peers(case, kernel, x, boundary, stride):
    found = {}
    flipped = np.flip(kernel)
    step = (slice(None, None, stride),) * x.ndim
    same = case.options.get("padding") == "same"
    if boundary == "zero":
        mode = "same" if same else "valid"
        for name in ("fftconvolve", "oaconvolve", "convolve"):
            if name == "convolve" or case.dtype != "i8":
                function = getattr(scipy.signal, name)
                found[name] = lambda function=function: function(x, flipped, mode)[step]
    if same or (boundary == "zero" and math.prod(case.k) <= 81):
        inner = () if same else tuple(slice(k // 2, k // 2 + n - k + 1) for n, k in zip(case.n, case.k, strict=True))
        if math.prod(case.k) <= 1000 and case.dtype != "c16":  # it conjugates complex weights
            found["ndimage"] = lambda: scipy.ndimage.correlate(x, kernel, mode=MODES[boundary])[inner][step]
    if pylops and same and boundary == "zero" and stride == 1:
        offset = [k // 2 for k in case.k]
        if x.ndim == 1:
            other = pylops.signalprocessing.Convolve1D(x.shape, h=flipped, offset=offset[0], dtype=x.dtype)
        else:
            other = pylops.signalprocessing.ConvolveND(x.shape, h=flipped, offset=offset, dtype=x.dtype)
        found["pylops"] = lambda: other @ x
    return found


def timed(ways, repeat, rng):
    """Median seconds of each, in random order every turn.

    A pause lets the threads of the one before stop spinning, and a call that is not timed brings what this one needs
    into the cache; then calls follow each other for three milliseconds, or one alone, as they do inside a solver.
    """
    times = {name: [] for name in ways}
    calls = {}
    for name, way in ways.items():
        start = time.perf_counter()
        way()
        calls[name] = max(min(int(3e-3 / (time.perf_counter() - start)), 50), 1)
    for _ in range(repeat):
        for name in rng.permutation(list(ways)):
            if len(times[name]) >= 3 and sum(times[name]) > 4:
                continue
            time.sleep(0.01)
            ways[name]()
            start = time.perf_counter()
            for _ in range(calls[name]):
                ways[name]()
            times[name].append((time.perf_counter() - start) / calls[name])
    return {name: statistics.median(t) for name, t in times.items()}


def machine(rng):
    """Bytes a second of a copy, and flops a second of a large GEMM in float32 and float64."""
    a = rng.standard_normal(1 << 23)
    b = np.empty_like(a)
    ways = {"copy": lambda: np.copyto(b, a)}
    for dtype in ("f4", "f8"):
        m = rng.standard_normal((1500, 1500)).astype(dtype)
        ways[dtype] = lambda m=m: m @ m
    times = timed(ways, 7, rng)
    return {"copy": 2 * a.nbytes / times["copy"], **{d: 2 * 1500**3 / times[d] for d in ("f4", "f8")}}


def limit(case, op, x, y, rates):
    """Seconds below which nobody can be: a copy of input and output, or the fewest flops of any engine as one GEMM."""
    wide = "f4" if case.dtype == "f4" else "f8"
    flops = min(each["flops"] for each in op.explain().engines.values()) * case.batch
    return max((x.nbytes + y.nbytes) / rates["copy"], flops / rates[wide])


def run(case, rng, repeat, rates):
    kernel, ops, x = case.make(rng)
    apply = {name: (lambda op=op: op.H(x)) if case.adjoint else (lambda op=op: op(x)) for name, op in ops.items()}
    expected = apply["direct"]()
    others = peers(case, kernel, ops["auto"], x)
    eps = 1e-4 if case.dtype == "f4" else 1e-10
    for name, way in {**apply, **others}.items():
        result = np.asarray(way()).reshape(expected.shape)
        error = np.abs(result - expected).max() / np.abs(expected).max()
        assert error <= (0 if case.dtype == "i8" else eps), (case.name, name, error)
    # The other direction of the same map, for how the two compare.
    apply["other way"] = (lambda: ops["auto"](expected)) if case.adjoint else (lambda: ops["auto"].H(expected))
    gc.collect()
    times = timed({**apply, **others}, repeat, rng)
    forward, adjoint = (times["auto"], times.pop("other way"))[:: -1 if case.adjoint else 1]
    ours = times["auto"]
    engine = ops["auto"].explain().engine
    own = min(times[name] for name in apply if name in times and name != "auto")
    peer, best = min(
        ((n, t) for n, t in times.items() if n in others), key=lambda each: each[1], default=("-", math.nan)
    )
    near = limit(case, ops["auto"], x, expected, rates) / ours
    print(
        f"{case.name:<66}{ours * 1e3:>9.2f} {engine:<10}{ours / own:>6.2f}{near:>7.0%}"
        f" {adjoint / forward:>8.2f} {peer:<12}{best * 1e3:>9.2f}{best / ours:>8.2f}",
        flush=True,
    )
    return Row(case, best / ours, ours / own, peer, near, adjoint / forward)


class Row(NamedTuple):
    """Ratios of one case."""

    case: Case
    ratio: float
    choice: float
    peer: str
    near: float
    adjoint: float


def summary(rows):
    ratios = np.array([r.ratio for r in rows if r.ratio == r.ratio])
    print(
        f"\n{len(rows)} cases: geometric mean of best peer / ours {np.exp(np.log(ratios).mean()):.2f} (wanted >= 1.2)"
    )
    low = [f"{r.case.name} {r.ratio:.2f}" for r in rows if r.ratio < 0.5]
    print(f"below 0.5: {len(low)} (wanted none); below 1: {(ratios < 1).sum()} of {ratios.size}", *low, sep="\n  ")
    strict = [r for r in rows if r.case.dtype in ("f8", "c16") or r.case.c == r.case.f == 1]
    low = [f"{r.case.name} {r.ratio:.2f}" for r in strict if r.ratio < 1]
    print(f"float64, complex or one channel below 1.0: {len(low)} of {len(strict)} (wanted none)", *low, sep="\n  ")
    print(f"worst automatic choice over our own best engine {max(r.choice for r in rows):.2f} (wanted <= 2)")
    print(f"adjoint / forward, median {statistics.median(r.adjoint for r in rows):.2f} (wanted <= 1.3)")
    print(f"limit / ours, median {statistics.median(r.near for r in rows):.0%}")


def plot(rows, path):
    from matplotlib.figure import Figure

    ordered = sorted((r for r in rows if r.ratio == r.ratio), key=lambda r: r.ratio)
    figure = Figure(figsize=(9, 0.22 * len(rows) + 1.5), layout="constrained")
    ax = figure.subplots()
    ax.barh([f"{r.case.name}  ({r.peer})" for r in ordered], [r.ratio for r in ordered], color="#669bbc")
    ax.axvline(1, color="black", lw=0.8)
    ax.set_xscale("log")
    ax.set_xlabel("time of the best other library / ours")
    ax.tick_params(axis="y", labelsize=6)
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--only", default="", help="cases whose name has this text")
    parser.add_argument("--plot", help="picture to write")
    given = parser.parse_args()
    del select.ENGINES["torch"]  # the targets are for what NumPy and SciPy alone can do
    present = ", ".join(m.__name__ + " " + m.__version__ for m in (np, scipy, torch, jax, pylops) if m)
    print(f"convmtx {cm.__version__} beside {present}")
    rng = np.random.default_rng(0)
    rates = machine(rng)
    told = ", ".join(f"GEMM {d} {rates[d] / 1e9:.0f} Gflop/s" for d in ("f4", "f8"))
    print(f"machine: copy {rates['copy'] / 1e9:.1f} GB/s, {told}")
    print(
        f"{'case':<66}{'ours ms':>9} {'engine':<10}{'/best':>6}{'limit':>7} {'adj/fwd':>8} {'best peer':<12}"
        f"{'ms':>9}{'peer/ours':>10}"
    )
    rows = [run(case, rng, given.repeat, rates) for case in CASES if given.only in case.name]
    summary(rows)
    if given.plot:
        plot(rows, given.plot)


if __name__ == "__main__":
    main()
