"""Applying the map: ours beside every library that can do the case, in one run, results compared.

    python benchmarks/apply.py [--part machine|map] [--only TEXT] [--quick] [--json FILE]

``other / ours`` above 1 means that ours is the faster. Libraries that are not installed are left out.
"""

import functools
import math
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import scipy.ndimage
import scipy.signal
from measuring import Times, Values, main, medians, optional

import convmtx as cm
from convmtx.engines import select

MODES = {"zero": "constant", "wrap": "wrap", "reflect": "mirror", "symmetric": "reflect", "edge": "nearest"}
TORCH_MODES = {"wrap": "circular", "reflect": "reflect", "edge": "replicate"}


torch, jax, pylops, numba = (optional(name) for name in ("torch", "jax", "pylops", "numba"))
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
    def products(self):
        """Number of products of a kernel value and an input value, about."""
        groups = self.options.get("groups", 1)
        return math.prod(self.n) * math.prod(self.k) * self.c * self.f // groups * self.batch

    @property
    def name(self):
        """Name of the case in tables."""
        words = ["x".join(map(str, self.n)), "k" + "x".join(map(str, self.k))]
        words += [f"{self.c}->{self.f}"] if self.c * self.f > 1 else []
        padding, boundary = self.options.get("padding"), self.options.get("boundary")
        words += [f"padding {padding}" if isinstance(padding, int) else padding, boundary]
        words += [f"{key} {self.options.get(key)}" for key in ("stride", "dilation", "groups") if key in self.options]
        words += [f"batch {self.batch}"] * (self.batch > 1) + ["outer product"] * self.separable
        return " ".join([*filter(None, words), *["adjoint"] * self.adjoint, self.dtype])

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
    names = ["auto", "direct"]
    if case.dtype != "i8":
        names += ["fft", *(["separable"] if case.separable else [])]
    return names + ["compiled"] * ("compiled" in select.ENGINES and numba is not None)


def values(rng, shape, dtype):
    if dtype == "i8":
        return rng.integers(-9, 10, shape)
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape)).astype(dtype) if dtype.startswith("c") else x.astype(dtype)


def same(**options):
    return {"padding": "same", **options}


#: Products up to which a case is quick.
SMALL = 3e7
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
    """Calls of other libraries for the same result, by name; results are compared with ours."""
    calls = {}
    options, d = case.options, len(case.n)
    boundary, padding = options.get("boundary", "zero"), options.get("padding", 0)
    plain = case.c == case.f == 1 and not case.adjoint and case.batch == 1
    stride, dilation = options.get("stride", 1), options.get("dilation", 1)
    if op.nnz * 12 < 1.5e9:
        matrix = op.to_sparse()
        matrix = matrix.T.conj().tocsr() if case.adjoint else matrix
        flat = np.ascontiguousarray(x.reshape(case.batch, -1).T)
        shape = (case.batch, *(op.in_shape if case.adjoint else op.out_shape))
        calls["csr"] = lambda: (matrix @ flat).T.reshape(shape)
    unfolded = case.batch * case.c * math.prod(case.k) * math.prod(case.n) * 8  # bytes that torch may make of it
    if torch and case.dtype != "i8" and d <= 3 and unfolded < 2e9 and boundary in ("zero", *TORCH_MODES):
        calls.update(threaded(torch_peer(case, kernel, x, padding, boundary)))
    if jax and case.dtype != "i8" and boundary == "zero" and not case.adjoint and math.prod(case.k) <= 225:
        pads = [(a.lo, a.hi) for a in op.geometry.axes]
        run = jax.jit(
            lambda x, k: jax.lax.conv_general_dilated(
                x, k, (stride,) * d, pads, rhs_dilation=(dilation,) * d, feature_group_count=options.get("groups", 1)
            )
        )
        calls["jax"] = lambda: np.asarray(run(x, kernel))
    if plain and dilation == 1:
        calls.update(scipy_peers(case, kernel[0, 0], x[0, 0], boundary, stride))
    return calls


def threaded(way):
    """The way of PyTorch with its threads, and with one, which is quicker where another program keeps a core busy."""

    def alone():
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return way()
        finally:
            torch.set_num_threads(threads)

    return {"torch": way, "torch 1 thread": alone} if way else {}


def torch_peer(case, kernel, x, padding, boundary):
    d, o = len(case.n), case.options
    kt, xt = torch.from_numpy(kernel), torch.from_numpy(x)
    functional = torch.nn.functional
    if case.dtype == "c16" or (boundary != "zero" and case.adjoint):
        return None
    conv = getattr(functional, f"conv{'_transpose' if case.adjoint else ''}{d}d")
    keys = {k: o[k] for k in ("stride", "dilation", "groups") if k in o}
    if padding == "same":
        padding = tuple(o.get("dilation", 1) * (k - 1) // 2 for k in case.k)
    if case.adjoint:
        out = [n - ((n + 2 * p - k) // s * s - 2 * p + k) for n, k, p, s in zip(
            case.n, case.k, np.broadcast_to(padding, d), np.broadcast_to(o.get("stride", 1), d), strict=True
        )]  # fmt: skip
        return lambda: conv(xt, kt, padding=padding, output_padding=[int(v) for v in out], **keys).numpy()
    if boundary == "zero":
        return lambda: conv(xt, kt, padding=padding, **keys).numpy()
    widths = [p for p in reversed(np.broadcast_to(padding, d).tolist()) for _ in range(2)]
    return lambda: conv(functional.pad(xt, widths, mode=TORCH_MODES[boundary]), kt, **keys).numpy()


def scipy_peers(case, kernel, x, boundary, stride):
    calls = {}
    flipped = np.flip(kernel)
    step = (slice(None, None, stride),) * x.ndim
    same = case.options.get("padding") == "same"
    if boundary == "zero":
        mode = "same" if same else "valid"
        for name in ("fftconvolve", "oaconvolve", "convolve"):
            if name == "convolve" or case.dtype != "i8":
                function = getattr(scipy.signal, name)
                calls[name] = lambda function=function: function(x, flipped, mode)[step]
    if same or (boundary == "zero" and math.prod(case.k) <= 81):
        inner = () if same else tuple(slice(k // 2, k // 2 + n - k + 1) for n, k in zip(case.n, case.k, strict=True))
        if math.prod(case.k) <= 1000 and case.dtype != "c16":  # it conjugates complex weights
            calls["ndimage"] = lambda: scipy.ndimage.correlate(x, kernel, mode=MODES[boundary])[inner][step]
    if pylops and same and boundary == "zero" and stride == 1:
        offset = [k // 2 for k in case.k]
        if x.ndim == 1:
            other = pylops.signalprocessing.Convolve1D(x.shape, h=flipped, offset=offset[0], dtype=x.dtype)
        else:
            other = pylops.signalprocessing.ConvolveND(x.shape, h=flipped, offset=offset, dtype=x.dtype)
        calls["pylops"] = lambda: other @ x
    return calls


@functools.cache
def rates():
    """Bytes a second of a copy, and flops a second of a large GEMM in float32 and float64."""
    a = np.random.default_rng(0).standard_normal(1 << 23)
    b = np.empty_like(a)
    ways = {"copy": lambda: np.copyto(b, a)}
    for dtype in ("f4", "f8"):
        m = np.random.default_rng(0).standard_normal((1500, 1500)).astype(dtype)
        ways[dtype] = lambda m=m: m @ m
    seconds, _ = medians(ways, 7)
    return {"copy": 2 * a.nbytes / seconds["copy"], **{d: 2 * 1500**3 / seconds[d] for d in ("f4", "f8")}}


def limit(case, op, x, y):
    """Seconds below which nobody can be: a copy of input and output, or the fewest flops of any engine as one GEMM."""
    wide = "f4" if case.dtype == "f4" else "f8"
    flops = min(facts["flops"] for facts in op.explain().engines.values()) * case.batch
    return max((x.nbytes + y.nbytes) / rates()["copy"], flops / rates()[wide])


def machine(_quick):
    """Speed of this machine: copies and matrix products, from which the limits follow."""
    yield "copy of 64 MiB", lambda case, _: Values(case, {"per second": f"{rates()['copy'] / 1e9:.1f} GB"})
    for dtype, name in (("f4", "float32"), ("f8", "float64")):
        speed = lambda case, _, dtype=dtype: Values(case, {"per second": f"{rates()[dtype] / 1e9:.0f} Gflop"})
        yield f"matrix product of 1500x1500, {name}", speed


def maps(quick):
    """The map `op(x)`, and its adjoint `op.H(x)`.

    Compared with every library that can do the case. PyTorch is one of them, once with its own number of threads and
    once with one thread. Here it is not one of our engines. Limit: a copy of input and output, or the fewest flops
    of any engine at the speed of one large matrix product, whichever takes longer. auto / best: the time of the
    engine that we choose over that of our fastest engine. adjoint / map: the time of the adjoint over that of the
    map. Aim: other / ours 1.2 in the geometric mean and nowhere below 0.5, auto / best at most 2, adjoint / map at
    most 1.3. Arrays are float64 (f8), float32 (f4), complex128 (c16) or int64 (i8).
    """
    for case in [case for case in CASES if case.products <= SMALL][1::7] if quick else CASES:
        yield case.name, partial(applied, case)


def applied(case, name, repeat):
    kernel, ops, x = case.make(np.random.default_rng(0))
    ways = {e: partial(op.H if case.adjoint else op, x) for e, op in ops.items()}
    expected = ways["direct"]()
    others = peers(case, kernel, ops["auto"], x)
    # The other direction of the same map, for how the two compare.
    back = {"back": partial(ops["auto"] if case.adjoint else ops["auto"].H, expected)}
    seconds, results = medians({**ways, **others, **back}, repeat)
    forward, adjoint = (seconds["auto"], seconds["back"])[:: -1 if case.adjoint else 1]
    arrays = [np.asarray(results[way]).reshape(expected.shape) for way in (*ways, *others)]
    worst = max(np.abs(array - expected).max() for array in arrays) / np.abs(expected).max()
    ours = seconds["auto"]
    own = min(seconds[way] for way in ways if way != "auto")
    return Times(
        name, ours, {way: seconds[way] for way in others}, limit(case, ops["auto"], x, expected), worst,
        bool(worst <= {"i8": 0, "f4": 1e-4}.get(case.dtype, 1e-10)),
        {"auto / best": ours / own, "adjoint / map": adjoint / forward}, ops["auto"].explain().engine,
    )  # fmt: skip


if __name__ == "__main__":
    del select.ENGINES["torch"]  # the targets are for what NumPy and SciPy alone can do
    main(__doc__, {"machine": machine, "map": maps}, ["torch", "jax", "pylops"])
