"""Time maps of images in chunks, in stores and in arrays of Dask, beside what Dask's own libraries do, in one run.

    python benchmarks/chunked.py [--part storage|graphs] [--only TEXT] [--quick] [--json FILE]

``other / ours`` above 1 means that ours is the faster. Results are compared. Needs dask and zarr; dask-image takes part
if it is installed.
"""

import itertools
import shutil
import tempfile
from functools import partial
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import scipy.ndimage
import zarr
from measuring import Times, main, medians, optional

import convmtx as cm

filters = optional("dask_image.ndfilters")
#: Boundaries that all of them have: ours, those of dask-image and SciPy, and those of Dask.
MODES = {"zero": ("constant", 0), "reflect": ("mirror", None), "wrap": ("grid-wrap", "periodic")}
CASES = [("zero", 1), ("reflect", 1), ("wrap", 1), ("zero", 2)]


def storage(quick):
    """Zarr to zarr.

    A kernel of 7 x 7 on images of float32 in chunks of 2048 x 2048, from one store to another on the same disk, not
    compressed but in the last case. `cm.run` is compared with dask-image, and with `dask.array.map_overlap` of
    `scipy.ndimage.correlate`, whose results are stored by the threaded scheduler. The limit copies the store, chunk by
    chunk. Ours waits until each chunk is on the disk, and the others do not. Aim: limit / ours at least 0.5.
    """
    n, chunk = (400, 128) if quick else (8192, 2048)
    for boundary, stride in CASES[: 2 if quick else None]:
        yield f"{n}x{n} {boundary}, stride {stride}", partial(stored, n, chunk, boundary, stride, None)
    yield f"{n}x{n} zero, stride 1, zstd", partial(stored, n, chunk, "zero", 1, "auto")


def graphs(quick):
    """Arrays of Dask.

    The same maps of arrays of Dask whose chunks are slices of an array in memory, by the synchronous scheduler:
    ``op(x)``, dask-image, and `map_overlap` of `scipy.ndimage.correlate`. The limit is the map of the array in memory.
    Tasks are those of the graph that runs, divided by the number of chunks of the result; one of them reads a chunk.
    """
    n, chunk = (400, 128) if quick else (8192, 1024)
    for boundary, stride in CASES[: 2 if quick else None]:
        yield f"{n}x{n} {boundary}, stride {stride}", partial(computed, n, chunk, boundary, stride)


def image(n):
    """An image whose outputs are computed exactly by none, and a kernel."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, n), np.float32), rng.standard_normal((7, 7), np.float32)


def others(K, boundary, stride):
    """Other ways to the outputs of an array of Dask, which are lazy too."""
    mode, outside = MODES[boundary]

    def by_overlap(x):
        def correlated(block):
            # Only the middle of what is computed is kept, so any mode would do inside.
            return scipy.ndimage.correlate(block, K, mode="constant")

        if boundary == "reflect":  # Dask's reflection repeats the edge
            padded = da.pad(x, 3, mode="reflect").rechunk(x.chunksize)
            return padded.map_overlap(correlated, depth=3, boundary="none")[3:-3:stride, 3:-3:stride]
        return x.map_overlap(correlated, depth=3, boundary=outside)[::stride, ::stride]

    ways = {"map_overlap": by_overlap}
    if filters and boundary != "wrap":  # its wrapped modes are wrong where chunks meet
        ways["dask-image"] = lambda x: filters.correlate(x, K, mode=mode)[::stride, ::stride]
    return ways


def map_of(K, n, boundary, stride):
    return cm.conv(K, (n, n), padding=3, boundary=boundary, stride=stride)


def expected(x, K, boundary, stride):
    return scipy.ndimage.correlate(x, K, mode=MODES[boundary][0])[::stride, ::stride]


def stored(n, chunk, boundary, stride, compressors, case, repeat):
    x, K = image(n)
    op = map_of(K, n, boundary, stride)
    with tempfile.TemporaryDirectory() as name:
        folder, numbers = Path(name), itertools.count()
        source = str(folder / "x.zarr")
        zarr.create_array(source, data=x, chunks=(chunk, chunk), compressors=compressors)

        def to_new_store(way):
            """Make the target's name new, and take away the one before: nobody is timed while he deletes."""
            for path in folder.glob("y*"):
                shutil.rmtree(path)
            return partial(way, str(folder / f"y{next(numbers)}.zarr"))

        def by_dask(way, target):
            y = way(da.from_zarr(source))
            made = zarr.create_array(target, shape=y.shape, chunks=y.chunksize, dtype=y.dtype, compressors=compressors)
            da.store(y.rechunk(y.chunksize), made, lock=False, compute=True)
            return zarr.open_array(target)[:]

        def by_run(target):
            cm.run(op, source, target)
            return zarr.open_array(target)[:]

        def copied(target):
            read = zarr.open_array(source)
            made = zarr.create_array(target, shape=x.shape, chunks=(chunk, chunk), dtype="f4", compressors=compressors)
            for i, j in itertools.product(range(0, n, chunk), repeat=2):
                made[i : i + chunk, j : j + chunk] = read[i : i + chunk, j : j + chunk]
            return made[:]

        ways = {"ours": by_run, "copy": copied}
        ways |= {name: partial(by_dask, way) for name, way in others(K, boundary, stride).items()}
        seconds, results = medians(ways, repeat, prepare=to_new_store)
    limit = seconds.pop("copy")
    results.pop("copy")
    return row_of(case, seconds, results, expected(x, K, boundary, stride), limit, {})


def computed(n, chunk, boundary, stride, case, repeat):
    x, K = image(n)
    op, chunks = map_of(K, n, boundary, stride), da.from_array(x, chunks=chunk)
    lazy = {"ours": op(chunks)} | {name: way(chunks) for name, way in others(K, boundary, stride).items()}
    ways = {name: partial(y.compute, scheduler="synchronous") for name, y in lazy.items()}
    seconds, results = medians(ways | {"in memory": partial(op, x)}, repeat)
    limit = seconds.pop("in memory")
    results.pop("in memory")
    tasks = {f"tasks a chunk, {name}": tasks_of(y) / y.npartitions for name, y in lazy.items()}
    return row_of(case, seconds, results, expected(x, K, boundary, stride), limit, tasks)


def tasks_of(y):
    """Number of tasks of the graph that runs."""
    (optimized,) = dask.optimize(y)
    return len(dict(optimized.__dask_graph__()))


def row_of(case, seconds, results, right, limit, more):
    """Row of ways to one array, of which each is compared with SciPy's of the whole image."""
    worst = max(float(np.abs(result - right).max()) for result in results.values()) / float(np.abs(right).max())
    more = {f"tasks a chunk, {name}": float("nan") for name in ("ours", "dask-image", "map_overlap") if more} | more
    theirs = {name: value for name, value in seconds.items() if name != "ours"}
    return Times(case, seconds["ours"], theirs, limit, worst, bool(worst < 1e-5), more)


if __name__ == "__main__":
    main(__doc__, {"storage": storage, "graphs": graphs}, ("dask", "zarr", "dask-image"))
