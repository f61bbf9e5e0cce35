"""Maps applied from storage to storage: block by block, for images that no memory has to hold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import is_numpy, library
from convmtx.arguments import as_list, flag, integer
from convmtx.engines.chunked import ChunkedMap
from convmtx.errors import ArgumentError, ArgumentTypeError, door, shown, with_article
from convmtx.extras import import_extra
from convmtx.files import check_target
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.wrapped import Transposed
from convmtx.storage.arrays import StoredArray, stored_array
from convmtx.storage.blocks import BlockWriter, Grid, grown, shrunk
from convmtx.storage.jobs import Jobs, run_jobs
from convmtx.storage.save import require_space
from convmtx.storage.slabs import token
from convmtx.storage.workers import check_client
from convmtx.typing import Shape

#: Bytes of a chunk of the target if the source is not in chunks.
_CHUNK_BYTES = 1 << 24
#: Most bytes of a chunk of the target, unless chunks of the source have more.
_LARGEST_CHUNK = 1 << 26


@door("run")
def run(
    op: LinearMap,
    source: Any,
    target: str | os.PathLike[str],
    *,
    chunks: int | Sequence[int] | None = None,
    client: Any = None,
    resume: bool = True,
    progress: bool = False,
) -> None:
    """Apply a convolution to an array in storage, and write the outputs to Zarr, block by block.

    Law: ``zarr.open_array(target)[:]`` equals ``op(source[:])`` up to rounding, and equal calls write equal bytes.
    Neither of the two has to fit in memory.

    Parameters
    ----------
    op : LinearMap
        What `conv` or `conv_transpose` returns, or its ``T``, ``H`` or ``conj()``.
    source : str, path-like or array
        Array of shape ``(*batch, *op.in_shape)``. A path of Zarr, of a .npy file, or of an HDF5 file with one dataset;
        or an array that is read where it is sliced, such as zarr.Array, h5py.Dataset and numpy.memmap. Nobody may
        change it before the work is complete.
    target : str or path-like
        Folder to make, with the suffix .zarr or none: a Zarr array of shape ``(*batch, *op.out_shape)``. It gets its
        name when it is complete.
    chunks : int or tuple of int, optional
        Shape of the target's chunks. By default they cover what the chunks of the source do, so divided by a stride.
    client : distributed.Client, optional
        Dask cluster that does the work; its workers have to see the same files. By default this process does.
    resume : bool
        Whether to go on with the blocks that an earlier call with the same arguments has finished, also if its process
        was killed, and to keep what is finished if this call fails. It is kept in a hidden folder beside the target.
        With False, and if ``source`` is known to this process alone, as an ndarray is, begin anew, and leave nothing
        behind after a failure.
    progress : bool
        Whether to draw a bar; needs the extra ``progress``.

    Raises
    ------
    ValueError
        If the shapes do not fit, the target exists, has another suffix or cannot be written, there is no room for it,
        the source cannot be read, the client is closed, or an earlier call has begun to write something else under
        this name.
    TypeError
        If an argument has the wrong type. To apply a map that is not a convolution, use
        ``op(dask.array.from_zarr(source)).to_zarr(target)``.
    MemoryError
        If a block and what it reads do not fit in memory, or in that of a worker of the cluster.
    ImportError
        Without the extra ``files``; with a client, without ``dask``.

    Notes
    -----
    A block is one chunk of the target, or a few small ones for which 8 MiB are read or written, and one task of the
    cluster. Its inputs are read where it needs them, also from the far end under the boundary "wrap", and no block adds
    to another. The target is compressed as Zarr does by default, and not at all if the source is in Zarr and is not.
    This process makes one block after the other, with all its threads; memory holds about two blocks of inputs and two
    of outputs. A thread of a cluster takes as much.

    Examples
    --------
    >>> import tempfile, numpy as np, zarr, convmtx as cm
    >>> x = np.arange(10_000.0).reshape(100, 100)
    >>> blur = cm.conv(np.ones((3, 3)) / 9, x.shape, padding="same", boundary="reflect", stride=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = zarr.create_array(folder + "/x.zarr", data=x, chunks=(40, 40))
    ...     cm.run(blur, folder + "/x.zarr", folder + "/y.zarr")
    ...     y = zarr.open_array(folder + "/y.zarr")
    ...     y.chunks, np.allclose(y, blur(x))
    ((20, 20), True)
    """
    chunked = _chunked(op)
    stored = stored_array(source)
    writer = _writer(chunked, stored, chunks)
    path = _target(target, stored)
    resume, progress = flag("resume", resume), flag("progress", progress)
    _require_memory(writer, client)
    if stored.is_raw:
        require_space(path, prod(writer.blocks.shape) * writer.dtype.itemsize)
    identity = {
        "map": token(op), "source": stored.key, "shape": stored.shape, "dtype": stored.dtype.name,
        "chunks": writer.chunks.box, "blocks": writer.blocks.box,
    }  # fmt: skip
    if stored.key is None:  # nobody knows whether it is the source of an earlier call
        resume = False
    prepare = partial(_prepare, writer=writer, is_raw=stored.is_raw)
    jobs = Jobs(identity, writer.blocks.count, prepare, writer)
    run_jobs(path, jobs, "run", resume=resume, progress=progress, client=client)


def _chunked(op: Any) -> ChunkedMap:
    """Return how a map is applied in chunks; refuse one that is not a convolution, or the transpose of one."""
    if not isinstance(op, LinearMap):
        remedy = "Pass what cm.conv returns, or for an affine map its .op"
        raise ArgumentTypeError(f"op is {with_article(type(op).__name__)}", "Expected a map of convmtx", remedy)
    transposed = isinstance(op, Transposed)
    convolution = op.op if isinstance(op, Transposed) else op
    if not isinstance(convolution, ConvOperator):
        got, expected = f"op is {with_article(type(convolution).__name__)}", "Expected a convolution, its T or its H"
        raise ArgumentTypeError(got, expected, "Use op(dask.array.from_zarr(source)).to_zarr(target)")
    if not is_numpy(convolution.kernel):
        got = f"a map of {library(convolution.kernel)}"
        raise ArgumentTypeError(got, "Expected a kernel of NumPy", "Make it with NumPy's kernel")
    return ChunkedMap(convolution.geometry, convolution.kernel, convolution._requested_engine, transposed)


def _writer(op: ChunkedMap, source: StoredArray, chunks: Any) -> BlockWriter:
    """Return how blocks are made and written, once all shapes are known to fit."""
    n_batch = len(source.shape) - len(op.in_shape)
    if n_batch < 0 or source.shape[n_batch:] != op.in_shape:
        expected = f"Expected (*batch, {', '.join(map(str, op.in_shape))})"
        raise ArgumentError(f"source has shape {source.shape}", expected, "Batch axes come first")
    shape = source.shape[:n_batch] + op.out_shape
    dtype = np.dtype(op.result_type(source.dtype))
    if dtype.itemsize > (16 if dtype.kind == "c" else 8):
        got = f"outputs would have dtype {dtype}"
        raise ArgumentTypeError(got, "Zarr has at most doubles", "Cast the kernel first")
    box = _default_chunks(op, source, dtype) if chunks is None else _sizes(chunks, len(shape))
    box = tuple(max(min(step, size), 1) for step, size in zip(box, shape, strict=True))
    spatial = [n_batch + j for j, axis in enumerate(op.axes) if axis is not None]
    reads = source.chunks or source.shape
    if source.chunks and not source.is_mapped:
        reads = grown(source.chunks, source.shape, source.dtype.itemsize, spatial)
    joined = list(box)
    for j, axis in enumerate(op.axes, n_batch):  # a block has the channels of whole groups
        if axis is None and box[j] % op.channels_per_group[0]:
            joined[j] = -(-shape[j] // box[j]) * box[j]
    read = max(prod(source.shape) / max(prod(shape), 1), 1.0)  # inputs for each output, many of a stride
    block = grown(tuple(joined), shape, dtype.itemsize * read, spatial, range(n_batch))
    return BlockWriter(op, source, Grid(shape, block), Grid(shape, box), dtype, reads)


def _sizes(chunks: Any, d: int) -> Shape:
    """Return the argument ``chunks``: one length for each of d axes, or one for all."""
    entries = as_list("chunks", chunks)
    if entries is None:
        return (integer("chunks", chunks, 1),) * d
    if len(entries) != d:
        got, expected = f"chunks={shown(chunks)}", f"Expected one for each of the {d} axes of the target"
        raise ArgumentError(got, expected, "Batch axes come first")
    return tuple(integer(f"chunks[{j}]", entry, 1) for j, entry in enumerate(entries))


def _default_chunks(op: ChunkedMap, source: StoredArray, dtype: np.dtype[Any]) -> Shape:
    """Return chunks of the target that cover what those of the source do."""
    n_batch = len(source.shape) - len(op.in_shape)
    sides, most = [*source.shape[:n_batch], *op.out_shape], _CHUNK_BYTES
    if source.large_chunks is not None:
        sides[:n_batch] = source.large_chunks[:n_batch]
        most = max(_LARGEST_CHUNK, prod(source.large_chunks) * dtype.itemsize)
        for j, (axis, step) in enumerate(zip(op.axes, source.large_chunks[n_batch:], strict=True), n_batch):
            sides[j] = _scaled(op, axis, step, source.shape[j], sides[j])
    cut = [j for j in range(len(sides)) if j < n_batch or op.axes[j - n_batch] is not None]
    return shrunk(tuple(sides), dtype.itemsize, most, cut)


def _scaled(op: ChunkedMap, axis: Any, step: int, size: int, out: int) -> int:
    """Return how many outputs belong to ``step`` of ``size`` inputs along an axis; of channels whole groups, or all."""
    if axis is None:
        rows, columns = op.channels_per_group
        return out if step % columns else step // columns * rows
    if step >= size:
        return out
    up, down = (axis.stride, axis.input_dilation) if op.transposed else (axis.input_dilation, axis.stride)
    return -(-step * up // down)


def _target(target: Any, source: StoredArray) -> Path:
    """Return the folder to make; nothing that is there is replaced."""
    if not isinstance(target, str | os.PathLike) or not isinstance(os.fspath(target), str):
        raise ArgumentTypeError(f"target={shown(target)}", "Expected a path", 'Pass a str, for example "y.zarr"')
    path = Path(target)
    # Names such as blur_1.5 have no suffix: those of files have a letter.
    if path.suffix.lower() != ".zarr" and any(map(str.isalpha, path.suffix)):
        got, expected = f"target has the suffix {path.suffix!r}", "Outputs are a folder of Zarr: expected .zarr or none"
        raise ArgumentError(got, expected, "Rename it")
    if os.path.lexists(path):
        raise ArgumentError(f"{path} is there already", "A folder is not replaced", "Remove it or choose another name")
    import_extra("zarr", "files")
    path = check_target(path, (path.suffix.lower(),))
    if source.folder is not None and path.is_relative_to(source.folder):
        raise ArgumentError(f"{path} is inside the source", "Expected a folder of its own", "Choose another name")
    return path


def _require_memory(writer: BlockWriter, client: Any) -> None:
    """Refuse blocks that do not fit in this process's memory, or in that of the smallest worker."""
    size = writer.memory()
    what, remedy = "a block with what it reads", "Pass smaller chunks="
    if client is None:
        memory.require_result(what, size, remedy)
        return
    check_client(client)
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    limits = [worker["memory_limit"] // worker["nthreads"] for worker in workers if worker["memory_limit"]]
    if limits and size > min(limits):
        raise memory.no_room(what, size, f"{remedy}, or workers with more", min(limits))


def _prepare(draft: Path, writer: BlockWriter, is_raw: bool) -> None:
    """Create the array without a chunk."""
    import_extra("zarr", "files").create_array(
        str(draft), shape=writer.chunks.shape, chunks=writer.chunks.box, dtype=writer.dtype,
        compressors=None if is_raw else "auto",
    )  # fmt: skip
