"""Time how matrices and functions are recognized, beside unit vectors and passes over arrays, and compare results.

    python benchmarks/recognition.py [--part probed|functions|matrices|compared] [--only TEXT] [--quick] [--json FILE]

``other / ours`` above 1 means that ours is the faster.
"""

from functools import partial

import numpy as np
import scipy.ndimage
from measuring import Times, main, medians, optional, seconds_of
from scipy.sparse import csr_array

import convmtx as cm
from convmtx.testing import assert_same_map

torch = optional("torch")


def gauss(x):
    """A blur of SciPy with 9x9 taps; it takes one image at a time."""
    return scipy.ndimage.gaussian_filter(x, 1.0, radius=4)


def strided(x):
    """Means of 5x5 pixels around a circle, at every third place."""
    return scipy.ndimage.uniform_filter(x, 5, mode="wrap")[::3, ::3]


def layer():
    """A layer of PyTorch, which takes batches."""
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect", bias=False).double()


FUNCTIONS = {
    "gaussian_filter 64x64": (gauss, (64, 64)),
    "uniform_filter 64x64, stride 3": (strided, (64, 64)),
    "torch Conv2d 3->8, 32x32": (layer, (3, 32, 32)),
}
LARGE = {
    "gaussian_filter 256x256": (gauss, (256, 256)),
    "uniform_filter 256x256, stride 3": (strided, (256, 256)),
    "torch Conv2d 3->8, 256x256": (layer, (3, 256, 256)),
}


def functions(named, quick):
    """Names, functions and shapes of those whose library is installed."""
    for name, (f, shape) in list(named.items())[: 1 if quick else None]:
        if f is layer and torch:
            yield name, layer(), shape
        elif f is not layer:
            yield name, f, shape


def probed(quick):
    """The matrix of a function, `probe(f, in_shape)`.

    Compared with the images of all unit vectors, a dense matrix that is converted to CSR, for images that are small
    enough. The layer takes them in batches. Limit: the time of as many applications to one image. Aim: other / ours at
    least 20 for gaussian_filter on 64x64 pixels, and less than 2 seconds on 256x256.
    """
    for name, f, shape in functions(FUNCTIONS, quick):
        yield name, partial(as_probed, f, shape, True)
    for name, f, shape in [] if quick else functions(LARGE, quick):
        yield name, partial(as_probed, f, shape, False)


def as_probed(f, shape, is_small, case, repeat):
    op = cm.probe(f, shape)
    n, call = int(np.prod(shape)), caller(f)
    x = np.random.default_rng(0).standard_normal(shape)
    ways = {"ours": lambda: cm.probe(f, shape), "limit": lambda: [call(x) for _ in range(op.probes)]}
    if is_small:
        ways["unit vectors"] = partial(by_unit_vectors, f, shape)
    seconds, results = medians(ways, repeat)
    matrix = results["ours"].to_sparse()
    if is_small:
        difference = abs(matrix - results["unit vectors"]).max()
        agrees, others = bool(difference == 0), {"unit vectors": seconds["unit vectors"]}
    else:
        difference = np.abs(matrix @ x.ravel() - call(x).ravel()).max()
        agrees, others = bool(difference < 1e-13), {}
    more = {"applications": op.probes, "inputs / applications": n / op.probes, "Mnnz": matrix.nnz / 1e6}
    return Times(case, seconds["ours"], others, seconds["limit"], difference, agrees, more)


def by_unit_vectors(f, shape):
    """The matrix from the images of unit vectors; a layer takes 256 of them at a time."""
    n = int(np.prod(shape))
    if torch and isinstance(f, torch.nn.Module):
        with torch.no_grad():
            batches = torch.eye(n, dtype=torch.float64).reshape(n, *shape).split(256)
            images = np.concatenate([f(batch).flatten(1).numpy() for batch in batches])
    else:
        images = np.stack([f(unit).ravel() for unit in np.eye(n).reshape(n, *shape)])
    return csr_array(images.T)


def caller(f):
    """The function for one array of NumPy."""
    if torch and isinstance(f, torch.nn.Module):
        return lambda x: f(torch.from_numpy(x)[None])[0].detach().numpy()
    return f


def recognized(quick):
    """The convolution that a function is, `recognize(f, in_shape)`.

    Compared with `probe` and then `recognize` of its matrix. Limit: the time of as many applications to one image.
    """
    for name, f, shape in functions(FUNCTIONS if quick else LARGE, quick):
        yield name, partial(as_recognized, f, shape)


def as_recognized(f, shape, case, repeat):
    result, call = cm.recognize(f, shape), caller(f)
    x = np.random.default_rng(0).standard_normal(shape)
    channels = "first" if len(shape) == 3 else None

    def by_matrix():
        matrix = cm.probe(f, shape).to_sparse()
        return cm.recognize(matrix, shape, result.op.out_shape, channels=channels)

    limit = partial(lambda count: [call(x) for _ in range(count)], result.applications)
    ways = {"ours": lambda: cm.recognize(f, shape), "probe": by_matrix, "limit": limit}
    seconds, results = medians(ways, repeat)
    difference = np.abs(results["ours"].op(x) - call(x)).max()
    agrees = results["ours"].exact and results["probe"].exact and bool(difference < 1e-13)
    agrees = agrees and np.allclose(results["ours"].op.kernel, results["probe"].op.kernel, rtol=0, atol=1e-15)
    more = {"applications": result.applications}
    return Times(case, seconds["ours"], {"probe": seconds["probe"]}, seconds["limit"], difference, bool(agrees), more)


MATRICES = {
    "256x256 k9x9 reflect": ((9, 9), (256, 256), {"padding": "same", "boundary": "reflect"}),
    "1024x1024 k3x3": ((3, 3), (1024, 1024), {"padding": "same"}),
    "64x64 k3x3 16->16": ((3, 3, 16, 16), (64, 64, 16), {"padding": "same"}),
    "512x512 k13x13 stride 2 wrap": ((13, 13), (512, 512), {"padding": "same", "stride": 2, "boundary": "wrap"}),
    "100000 k101": ((101,), (100_000,), {"padding": "same"}),
}


def matrices(quick):
    """The convolution that a sparse matrix is, `recognize(A, in_shape, out_shape)`.

    CSR arrays of 5 to 11 million entries, in float64. Limit: one pass over the arrays, the sums of data and indices.
    Every entry is compared with the convolution. Aim: limit / ours at least 10%.
    """
    for name, case in list(MATRICES.items())[: 1 if quick else None]:
        yield name, partial(as_matrix, *case)


def operator(shape, image, options):
    """A convolution with random taps, and its matrix."""
    op = cm.conv(np.random.default_rng(0).standard_normal(shape), image, **options)
    return op, op.to_sparse()


def as_matrix(shape, image, options, case, repeat):
    op, matrix = operator(shape, image, options)
    channels = "last" if len(shape) > len(image) else None

    def ours():
        return cm.recognize(matrix, image, op.out_shape, channels=channels)

    ways = {"ours": ours, "limit": lambda: (matrix.data.sum(), matrix.indices.sum())}
    seconds, results = medians(ways, repeat)
    agrees = results["ours"].exact and np.array_equal(results["ours"].op.kernel, op.kernel)
    more = {"Mnnz": matrix.nnz / 1e6, "ours / limit": seconds["ours"] / seconds["limit"]}
    return Times(case, seconds["ours"], {}, seconds["limit"], results["ours"].distance, bool(agrees), more)


def compared(quick):
    """Whether a matrix is a map, `assert_same_map(A, op)`.

    Compared with building the matrix of the map, subtracting and looking for the largest difference. Limit: one pass
    over the arrays of A, the sums of data and indices. changed: the time until one wrong entry is named, and no
    mistake is found that explains it.
    """
    for name, case in list(MATRICES.items())[: 1 if quick else None]:
        yield name, partial(as_compared, *case)


def as_compared(shape, image, options, case, repeat):
    op, matrix = operator(shape, image, options)
    wrong = matrix.copy()
    wrong.data[wrong.nnz // 2] += 1
    ways = {
        "ours": lambda: assert_same_map(matrix, op),
        "subtract": lambda: abs(matrix - op.to_sparse()).max(),
        "limit": lambda: (matrix.data.sum(), matrix.indices.sum()),
    }
    seconds, results = medians(ways, repeat)
    took, error = seconds_of(partial(refused, wrong, op))
    agrees = results["subtract"] == 0 and "1 entry differs, by at most 1\n" in error
    more = {"Mnnz": matrix.nnz / 1e6, "changed, ms": 1e3 * took}
    return Times(case, seconds["ours"], {"subtract": seconds["subtract"]}, seconds["limit"], 0, bool(agrees), more)


def refused(matrix, op):
    """What the assertion says."""
    try:
        assert_same_map(matrix, op)
    except AssertionError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    parts = {"probed": probed, "functions": recognized, "matrices": matrices, "compared": compared}
    main(__doc__, parts, ["torch"])
