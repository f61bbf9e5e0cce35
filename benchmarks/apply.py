"""Applying the map: ours beside every library that can do the case, in one run, results compared.

    python benchmarks/apply.py [--part machine|map] [--only TEXT] [--quick] [--json FILE]

Short calls, tensors, JAX, the choice of the engine and GPUs have scripts of their own: `small.py`, `tensors.py`,
`jitted.py`, `regret.py` and `gpu.py`.

``other / ours`` above 1 means that ours is the faster. Libraries that are not installed are left out.
"""

import functools
import math
from functools import partial

import numpy as np
import scipy.ndimage
import scipy.signal
from cases import Case, choose_engine, difference, jax_convolution, same, threaded, torch_convolution, without
from measuring import Times, Values, main, medians, optional

MODES = {"zero": "constant", "wrap": "wrap", "reflect": "mirror", "symmetric": "reflect", "edge": "nearest"}

jax, pylops = optional("jax"), optional("pylops")
if jax:
    jax.config.update("jax_enable_x64", True)


def engines(case):
    """Our engines that can do the case; PyTorch's convolutions are among the peers, not ours."""
    names = ["direct"]
    if case.dtype != "i8":
        names += ["fft", *(["separable"] if case.separable else [])]
    return names


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
    options, boundary = case.options, case.options.get("boundary", "zero")
    plain = case.c == case.f == 1 and not case.adjoint and case.batch == 1
    stride, dilation = options.get("stride", 1), options.get("dilation", 1)
    if op.nnz * 12 < 1.5e9:
        matrix = op.to_sparse()
        matrix = matrix.T.conj().tocsr() if case.adjoint else matrix
        flat = np.ascontiguousarray(x.reshape(case.batch, -1).T)
        shape = (case.batch, *(op.in_shape if case.adjoint else op.out_shape))
        calls["csr"] = lambda: (matrix @ flat).T.reshape(shape)
    unfolded = case.batch * case.c * math.prod(case.k) * math.prod(case.n) * 8  # bytes that torch may make of it
    if unfolded < 2e9 and (by_torch := torch_convolution(case)):
        calls.update(threaded(partial(in_numpy, by_torch, x, kernel)))
    by_jax = jax_convolution(case, op) if boundary == "zero" and math.prod(case.k) <= 225 else None
    if by_jax:
        run = jax.jit(by_jax)
        calls["jax"] = lambda: np.asarray(run(x, kernel))
    if plain and dilation == 1:
        calls.update(scipy_peers(case, kernel[0, 0], x[0, 0], boundary, stride))
    return calls


def in_numpy(by_torch, x, kernel):
    """Outputs of a function of tensors, as an array of NumPy that shares their memory."""
    import torch

    return by_torch(torch.from_numpy(x), torch.from_numpy(kernel)).numpy()


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
    once with one thread. *ours* is NumPy and SciPy alone. with fast / ours: the time where Numba is installed (extra
    `fast`), over that of ours; with torch / ours: where PyTorch is imported, too, and its convolution is one of our
    engines. Both are 1 where the same engine is chosen. other / with fast: the time of the fastest other
    implementation over ours with Numba. Limit: a copy of input and output, or the fewest flops of any engine at the
    speed of one large matrix product, whichever takes longer. auto / best: the time of the engine that we choose over
    that of our fastest engine without Numba. adjoint / map: the time of the adjoint over that of the map. Aim: other /
    ours 2 in the geometric mean and nowhere below 0.5, other / with fast nowhere below 0.8, auto / best at most 2,
    adjoint / map at most 1.3. Arrays are float64 (f8), float32 (f4), complex128 (c16) or int64 (i8).
    """
    for case in [case for case in CASES if case.products <= SMALL][1::7] if quick else CASES:
        yield case.name, partial(applied, case)


#: Our engines that are hidden, for each way of ours.
LEFT_OUT = {"ours": ("torch", "compiled"), "with fast": ("torch",), "with torch": ()}


def applied(case, name, repeat):
    rng = np.random.default_rng(0)
    kernel = case.kernel(rng)
    ops = {way: case.op(kernel) for way in LEFT_OUT} | {engine: case.op(kernel, engine) for engine in engines(case)}
    op = ops["ours"]
    x = case.inputs(rng, op)
    ways = {way: partial(op.H if case.adjoint else op, x) for way, op in ops.items()}
    chosen = {}
    for way, left_out in LEFT_OUT.items():
        with without(*left_out):
            ways[way]()  # a map keeps what it chose
            chosen[way], _ = choose_engine(case, op)
    expected = ways["direct"]()
    others = peers(case, kernel, op, x)
    # The other direction of the same map, for how the two compare.
    with without(*LEFT_OUT["ours"]):
        back = {"back": partial(op if case.adjoint else op.H, expected)}
        back["back"]()
    same_engine = [way for way in LEFT_OUT if chosen[way] == chosen["ours"]]
    measured = {way: call for way, call in ways.items() if way == "ours" or way not in same_engine}
    seconds, results = medians({**measured, **others, **back}, repeat)
    seconds |= dict.fromkeys(same_engine, seconds["ours"])
    forward, adjoint = (seconds["ours"], seconds["back"])[:: -1 if case.adjoint else 1]
    worst = difference([results[way] for way in (*measured, *others)], expected)
    ours = seconds["ours"]
    quickest = min((seconds[way] for way in others), default=math.nan)
    more = {
        "with fast / ours": seconds["with fast"] / ours, "with torch / ours": seconds["with torch"] / ours,
        "other / with fast": quickest / seconds["with fast"],
        "auto / best": ours / min(seconds[engine] for engine in engines(case)), "adjoint / map": adjoint / forward,
    }  # fmt: skip
    return Times(
        name, ours, {way: seconds[way] for way in others}, limit(case, op, x, expected), worst, case.agrees(worst),
        more, ", ".join(dict.fromkeys(chosen.values())),
    )  # fmt: skip


if __name__ == "__main__":
    main(__doc__, {"machine": machine, "map": maps}, ["torch", "jax", "pylops", "numba"])
