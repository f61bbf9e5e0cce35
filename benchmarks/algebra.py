"""Time maps that join others beside the same built of their parts, in one run, and compare the results.

    python benchmarks/algebra.py [--part gram|varying|modes|masked] [--only TEXT] [--quick] [--json FILE]

``other / ours`` above 1 means that ours is the faster.
"""

import tracemalloc
from functools import partial

import numpy as np
from measuring import Times, main, medians

import convmtx as cm

GRAMS = {
    "128x128 k5x5": ((5, 5), (128, 128), {"padding": "same"}),
    "256x256 k3x3": ((3, 3), (256, 256), {"padding": "same"}),
    "256x256 k5x5": ((5, 5), (256, 256), {}),
    "96x96 k9x9": ((9, 9), (96, 96), {"padding": "same"}),
    "256x256 k9x9": ((9, 9), (256, 256), {"padding": "same"}),
    "128x128 k9x9 reflect": ((9, 9), (128, 128), {"padding": "same", "boundary": "reflect"}),
    "256x256 k5x5 stride 2": ((5, 5), (256, 256), {"padding": 2, "stride": 2}),
    "32x32 k5x5 8->16": ((5, 5, 8, 16), (32, 32, 8), {"padding": "same"}),
    "24x24x24 k5x5x5": ((5, 5, 5), (24, 24, 24), {}),
    "20000 k101": ((101,), (20_000,), {"padding": "same"}),
}


def gram(quick):
    """The matrix of the normal equations, `gram(op).to_sparse()`.

    Compared with SciPy's product of the sparse matrices, which are built before. Arrays are float64. Limit: the time to
    fill new arrays of the same sizes once. Mnnz: millions of stored entries. memory / result: the most that is
    allocated meanwhile, over the bytes of the result. Aim: other / ours at least 3 for kernels of 5x5 and more, 10 for
    9x9 and more; limit / ours at least 33%; memory at most 1.3 results.
    """
    for name, case in list(GRAMS.items())[: 1 if quick else None]:
        yield name, partial(as_gram, *case)


def as_gram(shape, image, options, case, repeat):
    op = cm.conv(np.random.default_rng(0).standard_normal(shape), image, **options)
    matrix = op.to_sparse()
    transposed = matrix.T.tocsr()

    def ours():
        return cm.gram(op).to_sparse()

    result = ours()
    ways = {"ours": ours, "fill": partial(filled, result), "scipy": lambda: transposed @ matrix}
    seconds, results = medians(ways, repeat)
    worst = abs(results["scipy"] - result).max() / abs(result).max()
    more = {"Mnnz": result.nnz / 1e6, "memory / result": allocated(ours) / size_of(result)}
    agrees = bool(worst < 1e-13 and result.nnz >= results["scipy"].nnz)
    return Times(case, seconds["ours"], {"scipy": seconds["scipy"]}, seconds["fill"], worst, agrees, more)


def filled(matrix):
    """New arrays of the same sizes, written once."""
    return [np.full(a.shape, 1, a.dtype) for a in (matrix.data, matrix.indices, matrix.indptr)]


def size_of(matrix):
    """Bytes of a CSR array."""
    return matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes


def allocated(way):
    """The most bytes that are allocated at once while a way runs."""
    tracemalloc.start()
    result = way()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del result
    return peak


LOCALS = {
    "512x512 k3x3": ((3, 3), (512, 512), {"padding": "same"}),
    "512x512 k3x3 valid": ((3, 3), (512, 512), {}),
    "256x256 k9x9": ((9, 9), (256, 256), {"padding": "same"}),
    "64x64 k3x3 16->16": ((3, 3, 16, 16), (64, 64, 16), {"padding": "same"}),
    "200000 k15": ((15,), (200_000,), {"padding": "same"}),
}


def varying(quick):
    """Kernels that vary: `local(K)` and `varying(kernels, weights)` as sparse matrices.

    Compared with `conv(K).to_sparse()`, which has as many entries, of few numbers that stay in the cache. Limit: the
    time to copy the kernels and to fill the indices. Times of ours are those of ``local(K)``; mixed / conv: those of
    4 kernels mixed at each output. Aim: other / ours and conv / mixed at least 0.67.
    """
    for name, case in list(LOCALS.items())[: 1 if quick else None]:
        yield name, partial(as_local, *case)


def as_local(shape, image, options, case, repeat):
    rng = np.random.default_rng(0)
    op = cm.conv(rng.standard_normal(shape), image, **options)
    space = tuple(axis.out for axis in op.geometry.axes)
    kernels = rng.standard_normal((*space, *shape))
    own = cm.local(kernels, image, **options)
    few, weights = rng.standard_normal((4, *shape)), rng.standard_normal((4, *space))
    mixed = cm.varying(few, weights, image, per="output", **options)
    result = own.to_sparse()

    def limit():
        return kernels.copy(), np.full(result.indices.shape, 1, result.indices.dtype)

    ways = {"ours": own.to_sparse, "conv": op.to_sparse, "mixed": mixed.to_sparse, "limit": limit}
    seconds, results = medians(ways, repeat)
    x = rng.standard_normal(image)
    parts = [cm.conv(kernel, image, **options)(x) for kernel in few]
    by_place = [w if op.out_shape == space else w[..., None] for w in weights]
    expected = sum(w * part for w, part in zip(by_place, parts, strict=True)).ravel()
    worst = abs(results["mixed"] @ x.ravel() - expected).max() / abs(expected).max()
    more = {"Mnnz": op.nnz / 1e6, "conv / mixed": seconds["conv"] / seconds["mixed"]}
    agrees = bool(worst < 1e-12 and (result.indices == results["conv"].indices).all())
    return Times(case, seconds["ours"], {"conv": seconds["conv"]}, seconds["limit"], worst, agrees, more)


MODES = {
    "512x512 k15x15, 4 modes": ((15, 15), (512, 512), 4),
    "1024x1024 k31x31, 8 modes": ((31, 31), (1024, 1024), 8),
    "3200x3200 k31x31, 15 modes": ((31, 31), (3200, 3200), 15),
}


def modes(quick):
    """A blur that varies, `varying(kernels, weights)(x)`.

    Compared with a call of `conv` for each kernel, whose results are multiplied and added. Arrays are float32. memory /
    arrays: the most that is allocated meanwhile beside the result, in images, of which one call takes some. Aim: other
    / ours at least 0.77, at most 3 images more than one call.
    """
    for name, case in list(MODES.items())[: 1 if quick else None]:
        yield name, partial(as_modes, *case)


def as_modes(shape, image, count, case, repeat):
    rng = np.random.default_rng(0)
    kernels = rng.standard_normal((count, *shape)).astype(np.float32)
    weights = rng.standard_normal((count, *image)).astype(np.float32)
    x = rng.standard_normal(image).astype(np.float32)
    op = cm.varying(kernels, weights, image, padding="same", per="input")
    single = [cm.conv(kernel, image, padding="same") for kernel in kernels]

    def separate():
        total = single[0](weights[0] * x)
        for w, part in zip(weights[1:], single[1:], strict=True):
            total += part(w * x)
        return total

    separate()  # engines may compile in their first call
    seconds, results = medians({"ours": partial(op, x), "separate": separate}, min(repeat, 3), 1.0)
    worst = abs(results["ours"] - results["separate"]).max() / abs(results["separate"]).max()
    extra, alone = ((allocated(way) - x.nbytes) / x.nbytes for way in (partial(op, x), partial(single[0], x)))
    more = {"memory / arrays": extra, "of one call / arrays": alone}
    return Times(case, seconds["ours"], {"separate": seconds["separate"]}, None, worst, bool(worst < 1e-5), more)


MASKED = {"128x128 k9x9": 128, "256x256 k9x9": 256}
MISSING, DAMP = 0.1, 0.03


def masked(quick):
    """Missing pixels, `op[mask]`: a tenth of the outputs is not known.

    Times are of its sparse matrix, compared with the rows of the whole matrix that SciPy takes. The others are
    iterations of `cm.solve` with damp 0.03 for the blurred image of which a tenth is missing, and for the whole one.
    Aim: masked / whole at most 2.
    """
    for name, n in list(MASKED.items())[: 1 if quick else None]:
        yield name, partial(as_masked, n)


def as_masked(n, case, repeat):
    rng = np.random.default_rng(0)
    v = np.linspace(-2, 2, 9)
    psf = np.exp(-(v[:, None] ** 2 + v[:, None] * v + v**2))
    op = cm.conv(psf / psf.sum(), (n, n), padding="same")
    known = rng.random((n, n)) > MISSING
    few = op[known]
    ways = {"ours": few.to_sparse, "rows": lambda: op.to_sparse()[known.ravel()]}
    seconds, results = medians(ways, repeat)
    image = np.cumsum(rng.standard_normal((n, n)), axis=0)
    b = op(image)
    solved = [cm.solve(part, data, damp=DAMP) for part, data in ((few, b[known]), (op, b))]
    iterations = [max(solution.iterations, 1) for solution in solved]
    worst = abs(results["ours"] - results["rows"]).max()
    residual = few.T(few(solved[0].x) - b[known]) + DAMP**2 * solved[0].x
    more = {"masked / whole": iterations[0] / iterations[1], "iterations": iterations[0]}
    more["residual"] = np.linalg.norm(residual) / np.linalg.norm(few.T(b[known]))
    return Times(case, seconds["ours"], {"rows": seconds["rows"]}, None, worst, bool(worst == 0), more)


if __name__ == "__main__":
    main(__doc__, {"gram": gram, "varying": varying, "modes": modes, "masked": masked})
