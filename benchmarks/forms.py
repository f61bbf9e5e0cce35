"""What the forms cost: ours beside every other way to make the same array, in one run, results compared.

    python benchmarks/forms.py [--quick]

Each line is the median over interleaved repetitions. ``ratio`` is the other way's time over ours, except
where the column says that it is ours over the limit: the time to fill new arrays of the same sizes.
"""

import argparse
import gc
import resource
import statistics
import subprocess
import sys
import time
import timeit
import tracemalloc
from functools import partial

import numpy as np
import scipy.sparse as sp

import convmtx as cm


def medians(ways, repetitions):
    """Median seconds of each callable, called in turn; the last result of each."""
    times = {name: [] for name in ways}
    results = {}
    for turn in range(repetitions + 1):
        for name, make in ways.items():
            results.pop(name, None)
            gc.collect()
            start = time.perf_counter()
            result = make()
            seconds = time.perf_counter() - start
            if turn or repetitions == 1:  # the first turn warms up
                times[name].append(seconds)
            results[name] = result
    return {name: statistics.median(t) for name, t in times.items()}, results


def fancy_tensor(kernel, shape):
    """The answer the question got: zeros, then one assignment at broadcast index arrays."""
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
    """New arrays of the same sizes, written once: no way of making them can be faster."""
    return [np.full(a.shape, 1, a.dtype) for a in (matrix.data, matrix.indices, matrix.indptr)]


CASES = [(3, 16, 16, 64), (3, 1, 1, 1024), (3, 64, 64, 32), (7, 3, 64, 64)]
VARIANTS = {
    "valid": {},
    "padded": {"padding": 1},
    "stride 2": {"padding": 1, "stride": 2},
    "wrap": {"padding": 1, "boundary": "wrap"},
    "grouped": {"padding": 1, "groups": "all"},
}


def bench_csr(rng, repetitions):
    print("\nto_sparse('csr'), float64; (k, c, f, n)")
    print(
        f"{'case':<18}{'variant':<10}{'Mnnz':>7}{'ours ms':>9}{'fill ms':>9}"
        f"{'ours/fill':>10}{'coo/ours':>10}{'kron/ours':>10}"
    )
    worst = {"fill": 0.0, "coo": np.inf, "kron": np.inf}
    for k, c, f, n in CASES:
        for name, options in VARIANTS.items():
            options = dict(options)
            if options.get("groups"):
                options["groups"] = np.gcd(c, f).item()
            kernel = rng.standard_normal((k, k, c // options.get("groups", 1), f))
            op = cm.conv(kernel, (n, n, c), **options)
            reference = op.to_sparse()
            ways = {"ours": op.to_sparse, "fill": partial(filled, reference)}
            fast, results = medians(ways, repetitions)
            slow, others = medians(
                {"coo": partial(coo_csr, op, kernel, options), "kron": partial(kron_csr, op, kernel, options)}, 1
            )
            for other in others.values():
                other.sort_indices()
                difference = abs(other - results["ours"])
                assert difference.nnz == 0 or difference.max() == 0, (k, c, f, n, name)
            ours = fast["ours"]
            worst["fill"] = max(worst["fill"], ours / fast["fill"])
            for way in ("coo", "kron"):
                worst[way] = min(worst[way], slow[way] / ours)
            print(
                f"{(k, c, f, n)!s:<18}{name:<10}{op.nnz / 1e6:>7.1f}{ours * 1e3:>9.1f}{fast['fill'] * 1e3:>9.1f}"
                f"{ours / fast['fill']:>10.2f}{slow['coo'] / ours:>10.1f}{slow['kron'] / ours:>10.1f}"
            )
    print(
        f"worst: ours/fill {worst['fill']:.2f} (wanted <= 1.5), coo/ours {worst['coo']:.1f} (>= 10), "
        f"kron/ours {worst['kron']:.1f} (>= 10)"
    )


TENSORS = [(5, 3, 8, 32), (3, 3, 16, 64), (3, 16, 16, 32), (2, 3, 2, 160), (7, 8, 8, 40)]


def bench_dense(rng, repetitions, largest):
    print("\nto_tensor() beside the fancy-indexing answer; tensor_view() of the same tensor")
    print(
        f"{'case':<18}{'GB':>6}{'ours ms':>9}{'dense ms':>9}{'fancy ms':>9}"
        f"{'ours/fancy':>11}{'view ms':>9}{'view kB':>9}"
    )
    worst = 0.0
    for k, c, f, n in TENSORS:
        kernel = rng.standard_normal((k, k, c, f))
        op = cm.conv(kernel, (n, n, c))
        size = op.explain().bytes["tensor"]
        if size > largest:
            continue
        times, results = medians(
            {"ours": op.to_tensor, "fancy": partial(fancy_tensor, kernel, (n, n, c)), "dense": op.to_dense}, repetitions
        )
        assert np.array_equal(results["ours"], results["fancy"])
        assert np.array_equal(results["dense"].reshape(results["ours"].shape), results["fancy"])
        results.clear()
        view, _ = medians({"view": op.tensor_view}, 30)
        tracemalloc.start()
        V = op.tensor_view()
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert V.nbytes == size
        assert np.array_equal(V[n // 3], op.to_tensor()[n // 3])
        worst = max(worst, times["ours"] / times["fancy"])
        print(
            f"{(k, c, f, n)!s:<18}{size / 1e9:>6.2f}{times['ours'] * 1e3:>9.1f}{times['dense'] * 1e3:>9.1f}"
            f"{times['fancy'] * 1e3:>9.1f}{times['ours'] / times['fancy']:>11.2f}"
            f"{view['view'] * 1e3:>9.3f}{memory / 1e3:>9.0f}"
        )
    print(f"worst ours/fancy {worst:.2f} (wanted <= 1.05)")


def bench_construction(rng):
    print("\nmaking an operator, and its transpose with it")
    for name, kernel, shape, options in [
        ("2-D plain 3x3", rng.standard_normal((3, 3)), (512, 512), {}),
        ("2-D 16x16 channels 3x3", rng.standard_normal((3, 3, 16, 16)), (64, 64, 16), {"padding": "same"}),
        ("3-D grouped", rng.standard_normal((3, 3, 3, 2, 8)), (32, 32, 32, 8), {"groups": 4, "stride": 2}),
    ]:
        make = partial(cm.conv, kernel, shape, **options)
        microseconds = [timeit.timeit(way, number=200) / 200 * 1e6 for way in (make, lambda make=make: make().T)]
        print(f"  {name:<26}{microseconds[0]:>8.1f} us {microseconds[1]:>8.1f} us (wanted < 100)")


def bench_import():
    code = "import time; {first}; t=time.perf_counter(); import {name}; print(time.perf_counter()-t)"

    def seconds(first, name):
        line = code.format(first=first, name=name)
        return float(subprocess.run([sys.executable, "-c", line], check=True, capture_output=True, text=True).stdout)

    added, numpy_alone = [], []
    for _ in range(9):
        added.append(seconds("import numpy", "convmtx"))
        numpy_alone.append(seconds("pass", "numpy"))
    print(
        f"\nimport convmtx adds {statistics.median(added) * 1e3:.1f} ms (wanted < 50) to import numpy, "
        f"{statistics.median(numpy_alone) * 1e3:.1f} ms"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, tensors up to 0.6 GB")
    quick = parser.parse_args().quick
    rng = np.random.default_rng(0)
    print(f"numpy {np.__version__}, scipy {sp.__name__.split('.')[0]}, convmtx {cm.__version__}")
    bench_construction(rng)
    bench_import()
    bench_dense(rng, 3 if quick else 7, 6e8 if quick else 2.1e9)
    bench_csr(rng, 3 if quick else 7)
    print(f"peak memory of this run {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")


if __name__ == "__main__":
    main()
