"""Time every form beside all other ways to build the same array, in one run, and compare the results.

    python benchmarks/forms.py [--part sparse|formats|tensor|view|made] [--only TEXT] [--quick] [--json FILE]

``other / ours`` above 1 means that ours is the faster. The limit is the time to fill new arrays of the same sizes.
"""

import statistics
import subprocess
import sys
import tracemalloc
from functools import partial

import numpy as np
import scipy.sparse as sp
from measuring import Times, main, medians, optional

import convmtx as cm

BUDGET = 1.0  # s, of ways that take seconds


def fancy_tensor(kernel, shape):
    """Zeros, then one assignment at broadcast index arrays: the usual answer to the question."""
    k1, k2, channels, filters = kernel.shape
    m1, m2, _ = shape
    o1, o2 = m1 - k1 + 1, m2 - k2 + 1
    i, j, f, p, q, c = np.ogrid[:o1, :o2, :filters, :k1, :k2, :channels]
    W = np.zeros((o1, o2, filters, m1, m2, channels), kernel.dtype)
    W[i, j, f, i + p, j + q, c] = kernel.transpose(3, 0, 1, 2)
    return W


def coo_csr(op, kernel, options):
    """Row, column and value of every entry, then SciPy's conversion: the common way."""
    size, k, stride = op.in_shape[0], kernel.shape[0], options.get("stride", 1)
    lo = options.get("padding", 0)
    groups, wrap = options.get("groups", 1), options.get("boundary") == "wrap"
    o1, o2, filters = op.out_shape
    channels, per_c = op.in_shape[2], kernel.shape[2]
    i, j, f, p, q, c = np.ogrid[:o1, :o2, :filters, :k, :k, :per_c]
    y, x = i * stride - lo + p, j * stride - lo + q
    if wrap:
        y, x = y % size, x % size
    row = (i * o2 + j) * filters + f
    column = (y * size + x) * channels + f // (filters // groups) * per_c + c
    inside = (y >= 0) & (y < size) & (x >= 0) & (x < size)
    shape = np.broadcast_shapes(row.shape, column.shape)
    keep = np.broadcast_to(inside, shape)
    values = np.broadcast_to(kernel.transpose(3, 0, 1, 2), shape)
    rows, columns = np.broadcast_to(row, shape), np.broadcast_to(column, shape)
    return sp.coo_array((values[keep], (rows[keep], columns[keep])), shape=op.shape).tocsr()


def kron_csr(op, kernel, options):
    """The sum over taps of Kronecker products of shifted diagonals and channel matrices."""
    size, k, stride = op.in_shape[0], kernel.shape[0], options.get("stride", 1)
    lo = options.get("padding", 0)
    o1, o2, _ = op.out_shape
    groups, wrap = options.get("groups", 1), options.get("boundary") == "wrap"

    def shifted(out, p):
        if wrap:
            rows = np.arange(out)
            return sp.csr_array((np.ones(out), (rows, (rows * stride - lo + p) % size)), shape=(out, size))
        rows = np.arange(out)
        columns = rows * stride - lo + p
        keep = (columns >= 0) & (columns < size)
        return sp.csr_array((np.ones(keep.sum()), (rows[keep], columns[keep])), shape=(out, size))

    total = None
    for p in range(k):
        for q in range(k):
            blocks = np.split(kernel[p, q].T, groups)
            channel = sp.csr_array(sp.block_diag(blocks)) if groups > 1 else sp.csr_array(kernel[p, q].T)
            term = sp.kron(sp.kron(shifted(o1, p), shifted(o2, q)), channel, format="csr")
            total = term if total is None else total + term
    return total


def filled(matrix):
    """New arrays of the same sizes, written once: no way to build them can be faster."""
    return [np.full(a.shape, 1, a.dtype) for a in (matrix.data, matrix.indices, matrix.indptr)]


CASES = [(3, 16, 16, 64), (3, 1, 1, 1024), (3, 64, 64, 32), (7, 3, 64, 64)]
VARIANTS = {
    "valid": {},
    "padded": {"padding": 1},
    "stride 2": {"padding": 1, "stride": 2},
    "wrap": {"padding": 1, "boundary": "wrap"},
    "grouped": {"padding": 1, "groups": "all"},
}


def case_name(k, c, f, n):
    """Name of a case in tables."""
    return f"{n}x{n} k{k}x{k} {c}->{f}"


def sparse(quick):
    """The sparse matrix, `to_sparse("csr")`.

    Compared with SciPy's conversion from the coordinates of all entries (coo), and with a sum over taps of Kronecker
    products of shifts (kron). Arrays are float64. Limit: the time to fill new arrays of the same sizes once. Mnnz:
    millions of stored entries. Aim: other / ours at least 10, limit / ours at least 67%.
    """
    for sizes in [(3, 4, 4, 32)] if quick else CASES:
        for name, options in VARIANTS.items():
            yield f"{case_name(*sizes)} {name}", partial(as_csr, *sizes, options)


def as_csr(k, c, f, n, options, case, repeat):
    options = {**options, "groups": np.gcd(c, f).item()} if "groups" in options else options
    kernel = np.random.default_rng(0).standard_normal((k, k, c // options.get("groups", 1), f))
    op = cm.conv(kernel, (n, n, c), **options)
    ways = {
        "ours": op.to_sparse,
        "fill": partial(filled, op.to_sparse()),
        "coo": partial(coo_csr, op, kernel, options),
        "kron": partial(kron_csr, op, kernel, options),
    }
    seconds, results = medians(ways, repeat, BUDGET)
    ours = results.pop("ours")
    worst = max(abs(results[name] - ours).max() for name in ("coo", "kron"))
    others = {name: seconds[name] for name in ("coo", "kron")}
    return Times(case, seconds["ours"], others, seconds["fill"], worst, bool(worst == 0), {"Mnnz": op.nnz / 1e6})


FORMATS = {
    "7, 256": ((7,), (256,), {"padding": "same"}),
    "3x3, 32x32": ((3, 3), (32, 32), {"padding": "same"}),
    "3x3, 64x64": ((3, 3), (64, 64), {"padding": "same"}),
    "3x3, 128x128": ((3, 3), (128, 128), {"padding": "same"}),
    "5x5, 128x128, reflect": ((5, 5), (128, 128), {"padding": "same", "boundary": "reflect"}),
    "3x3, 128x128, 16 groups": ((3, 3, 1, 16), (128, 128, 16), {"padding": "same", "groups": 16}),
    "9x9, 256x256, reflect": ((9, 9), (256, 256), {"padding": "same", "boundary": "reflect"}),
    "9x9, 256x256, wrap": ((9, 9), (256, 256), {"padding": "same", "boundary": "wrap"}),
    "3x3, 64x64, 16->16 channels": ((3, 3, 16, 16), (64, 64, 16), {"padding": "same"}),
    "101, 100000": ((101,), (100_000,), {"padding": "same"}),
    "5x5x5, 48x48x48, edge": ((5, 5, 5), (48, 48, 48), {"padding": "same", "boundary": "edge"}),
}


def formats(quick):
    """The other formats beside CSR, CSR beside its limit, and CSR of PyTorch beside SciPy's.

    Compared with SciPy's conversion of the CSR array to DIA. Limit: the time to copy the three arrays of the CSR array
    and to make an array of SciPy of them. Times of ours are those of DIA. Arrays are float64. Aim: csc/csr, dia/csr and
    torch/csr at most 1.5, and csr/limit at most 1.5 below 3 million entries.
    """
    for name, case in list(FORMATS.items())[: 2 if quick else None]:
        yield name, partial(as_formats, *case)


def as_formats(shape, image, options, case, repeat):
    kernel = np.random.default_rng(0).standard_normal(shape)
    op = cm.conv(kernel, image, **options)
    csr = op.to_sparse()
    ways = {name: partial(op.to_sparse, name) for name in ("csr", "csc", "dia")}
    ways |= {"limit": partial(copied, csr), "todia": csr.todia}
    if torch := optional("torch"):
        ways["torch"] = cm.conv(torch.from_numpy(kernel), image, **options).to_sparse
    seconds, results = medians(ways, repeat, BUDGET)
    worst = max(abs(results[name].tocsr() - csr).max() for name in ("csr", "csc", "dia", "todia"))
    more = {
        "Mnnz": op.nnz / 1e6,
        "csc/csr": seconds["csc"] / seconds["csr"],
        "dia/csr": seconds["dia"] / seconds["csr"],
    }
    more["csr/limit"] = seconds["csr"] / seconds["limit"]
    if torch:
        more["torch/csr"] = seconds["torch"] / seconds["csr"]
        worst = max(worst, abs(results["torch"].values().numpy() - csr.data).max())
    return Times(case, seconds["dia"], {"todia": seconds["todia"]}, None, worst, bool(worst == 0), more)


def copied(matrix):
    """A CSR array of copies of a matrix's arrays."""
    return sp.csr_array((matrix.data.copy(), matrix.indices.copy(), matrix.indptr.copy()), shape=matrix.shape)


TENSORS = [(5, 3, 8, 32), (3, 1, 1, 100), (7, 8, 8, 40), (3, 16, 16, 32)]  # up to 2 GB


def tensor(quick):
    """The tensor, `to_tensor()`.

    Compared with an array of zeros and one assignment at broadcast index arrays (fancy). Arrays are float64. Both
    methods touch every page of the tensor, and that takes nearly all the time. Aim: other / ours at least 0.95.
    """
    for sizes in TENSORS[: 1 if quick else None]:
        yield case_name(*sizes), partial(as_tensor, *sizes)


def as_tensor(k, c, f, n, case, repeat):
    kernel = np.random.default_rng(0).standard_normal((k, k, c, f))
    op = cm.conv(kernel, (n, n, c))
    ways = {"ours": op.to_tensor, "fancy": partial(fancy_tensor, kernel, (n, n, c))}
    seconds, results = medians(ways, repeat)
    more = {"GB": op.explain().bytes["tensor"] / 1e9}
    worst = float(not np.array_equal(results["ours"], results["fancy"]))
    return Times(case, seconds["ours"], {"fancy": seconds["fancy"]}, None, worst, worst == 0, more)


def view(quick):
    """The tensor as a view, `tensor_view()`.

    The view fills no array. It is compared with `to_tensor()`. kB: memory that the view allocates. kB of the tensor:
    memory that the tensor allocates.
    """
    for sizes in TENSORS[: 1 if quick else None]:
        yield case_name(*sizes), partial(as_view, *sizes)


def as_view(k, c, f, n, case, repeat):
    op = cm.conv(np.random.default_rng(0).standard_normal((k, k, c, f)), (n, n, c))
    seconds, results = medians({"ours": op.tensor_view, "to_tensor": op.to_tensor}, repeat)
    tracemalloc.start()
    op.tensor_view()
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    same = np.array_equal(results["ours"][n // 3], results["to_tensor"][n // 3])
    more = {"kB": memory / 1e3, "kB of the tensor": op.explain().bytes["tensor"] / 1e3}
    return Times(case, seconds["ours"], {"to_tensor": seconds["to_tensor"]}, None, float(not same), same, more)


MADE = {
    "2-D, 3x3": ((3, 3), (512, 512), {}),
    "2-D, 3x3, 16->16 channels": ((3, 3, 16, 16), (64, 64, 16), {"padding": "same"}),
    "3-D, groups": ((3, 3, 3, 2, 8), (32, 32, 32, 8), {"groups": 4, "stride": 2}),
}


def made(quick):
    """Making an operator, importing convmtx.

    Aim: below 0.1 ms for an operator; below 50 ms for the import, in a new process that has imported NumPy.
    """
    for name, (shape, image, options) in MADE.items():
        op = partial(cm.conv, np.random.default_rng(0).standard_normal(shape), image, **options)
        yield name, partial(alone, op)
        yield f"{name}, and its transpose", partial(alone, lambda op=op: op().T)
    if not quick:
        yield "import convmtx", imported


def alone(way, case, repeat):
    return Times(case, medians({"ours": way}, repeat)[0]["ours"])


def imported(case, repeat):
    code = "import time, numpy; start = time.perf_counter(); import convmtx; print(time.perf_counter() - start)"
    run = partial(subprocess.run, [sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return Times(case, statistics.median(float(run().stdout) for _ in range(repeat)))


if __name__ == "__main__":
    main(__doc__, {"sparse": sparse, "formats": formats, "tensor": tensor, "view": view, "made": made})
