"""Run by `test_sharded` in a process of its own, where JAX sees eight devices: maps of arrays that are cut into blocks.

Wanted numbers are those of NumPy's pads and windows, and of `jax.lax` on one device.
"""

import re
from itertools import pairwise

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import convmtx as cm

jax.config.update("jax_enable_x64", True)
assert len(jax.devices()) == 8
MESH = Mesh(np.array(jax.devices()).reshape(4, 2), ("rows", "columns"))
BOUNDARIES = ("zero", "wrap", "reflect", "symmetric", "edge")
rng = np.random.default_rng(0)


def cut(x, *spec, mesh=MESH):
    """The array in blocks, along these axes of the mesh."""
    return jax.device_put(x, NamedSharding(mesh, PartitionSpec(*spec)))


def compiled(function, *arrays):
    """The result of a compiled function, and what devices send each other in it."""
    names = r"all-gather|all-reduce|all-to-all|reduce-scatter|collective-permute|collective-broadcast"
    program = jax.jit(function).lower(*arrays).compile()
    return program(*arrays), set(re.findall(names, program.as_text()))


def close(y, wanted, dtype=np.float64):
    """Whether numbers agree to rounding: sums here are of at most a few thousand products."""
    scale = max(np.abs(wanted).max(), 1)
    return np.abs(np.asarray(y) - wanted).max() <= 1000 * np.finfo(dtype).eps * scale


def kept(y, x):
    """Whether y is cut as x is."""
    return y.sharding.is_equivalent_to(NamedSharding(x.sharding.mesh, x.sharding.spec), y.ndim)


def windows(x, size, stride, pads, boundaries):
    """What each output reads, (C, o1, o2, k1, k2), of an array (C, n1, n2)."""
    for axis, (pad, boundary) in enumerate(zip(pads, boundaries, strict=True), 1):
        mode = {"zero": "constant"}.get(boundary, boundary)
        x = np.pad(x, [pad if axis == j else (0, 0) for j in range(3)], mode)
    return np.lib.stride_tricks.sliding_window_view(x, size, (1, 2))[:, ::stride, ::stride]


def every_boundary_and_stride():
    """Depthwise maps: outputs, transposed maps and gradients, in programs that send borders and nothing else."""
    for boundaries in pairwise((*BOUNDARIES, BOUNDARIES[0])):
        for stride in (1, 2, 3):
            x, K = rng.standard_normal((2, 16 * stride, 8 * stride)), rng.standard_normal((2, 1, 3, 5))
            pads = (1, 1), (3, 1) if stride < 3 else (2, 0)
            options = {"stride": stride, "padding": pads, "boundary": boundaries, "groups": 2, "channels": "first"}
            read = windows(x, (3, 5), stride, pads, boundaries)
            wanted = np.einsum("cyxij,cij->cyx", read, K[:, 0])
            assert wanted.shape == (2, 16, 8)
            v = rng.standard_normal(wanted.shape)
            spread, seen = cut(x, None, "rows", "columns"), cut(v, None, "rows", "columns")
            op = cm.conv(jax.numpy.asarray(K), x.shape, **options)
            back_there = cm.conv(K, x.shape, **options).H(v)
            assert close((back_there * x).sum(), (v * wanted).sum()), (boundaries, stride)
            for map_, array, result in ((op, spread, wanted), (op.H, seen, back_there)):
                y, sent = compiled(map_, array)
                assert sent == {"collective-permute"}, (boundaries, stride)
                for each in (y, map_(array)) if stride == 2 else (y,):
                    assert kept(each, array), (boundaries, stride)
                    assert close(each, result), (boundaries, stride)

            if stride != (2 if boundaries[0] == "wrap" else 1 + BOUNDARIES.index(boundaries[0]) % 3):
                continue

            def loss(K, x, v, options=options):
                return (cm.conv(K, x.shape, **options)(x) * v).sum()

            in_kernel, in_input = jax.jit(jax.grad(loss, (0, 1)))(jax.numpy.asarray(K), spread, seen)
            assert close(in_kernel[:, 0], np.einsum("cyxij,cyx->cij", read, v)), (boundaries, stride)
            assert close(in_input, back_there), (boundaries, stride)
            assert kept(in_input, spread), (boundaries, stride)


def strides_of_single_precision():
    """Strided convolutions of blocks, as JAX has them on one device (its issue 16894)."""
    x = rng.standard_normal((2, 3, 32, 24)).astype("f4")
    K = jax.numpy.asarray(rng.standard_normal((4, 3, 4, 3)).astype("f4"))
    for stride, pads in ((2, ((1, 1), (0, 1))), (3, ((2, 3), (1, 0))), (2, ((0, 0), (0, 0)))):
        wanted = np.asarray(jax.lax.conv_general_dilated(x, K, (stride,) * 2, pads))
        op = cm.conv(K, x.shape[1:], stride=stride, padding=pads, channels="first")
        for spec in ((None, None, "rows", "columns"), ("columns", None, None, "rows")):
            assert close(op(cut(x, *spec)), wanted, "f4"), (stride, spec)


def sizes_that_do_not_fit():
    """Outputs that cannot be cut evenly, taps longer than a block, pads wider than the array, gaps."""
    specs = (None, "rows", "columns"), ("columns", "rows"), (None, ("columns", "rows"))
    for turn, (n, kernel, options) in enumerate((
        ((24, 16), (3, 5), {}), ((20, 8), (4, 3), {"stride": 3, "padding": 2, "boundary": "edge"}),
        ((24, 16), (9, 1), {"padding": (70, 0), "boundary": "reflect"}),
        ((16, 8), (3, 3), {"padding": (20, 9), "boundary": ("wrap", "symmetric")}),
        ((16, 8), (11, 3), {"padding": "same", "boundary": "wrap"}),
        ((16, 8), (3, 3), {"padding": (-2, 1), "dilation": 2, "boundary": "symmetric"}),
        ((8, 8), (3, 4), {"input_dilation": (2, 3), "padding": ((1, 2), (3, 3)), "stride": (1, 2)}),
        ((12, 8), (3, 4), {"input_dilation": 2, "padding": 3, "boundary": "reflect"}),
    )):  # fmt: skip
        x, K = rng.standard_normal((4, *n)), rng.standard_normal(kernel)
        ours, theirs = cm.conv(K, n, **options), cm.conv(jax.numpy.asarray(K), n, **options)
        spread = cut(x, *specs[turn % 3])
        y, back = jax.jit(lambda x, op=theirs: (op(x), op.T(op(x))))(spread)
        assert close(y, ours(x)), options
        assert close(back, ours.T(ours(x))), options


def other_factors_than_space():
    """Batches and groups in blocks send nothing; filters in blocks stay so, and sums over channels are added up."""
    x, K = rng.standard_normal((8, 16, 12, 8)), rng.standard_normal((16, 4, 3, 3))
    grouped = {"groups": 4, "channels": "first", "padding": 1}
    ours, theirs = cm.conv(K, x.shape[1:], **grouped), cm.conv(jax.numpy.asarray(K), x.shape[1:], **grouped)
    for spec in (("rows",), (("rows", "columns"),), (None, "rows"), ("columns", "rows")):
        spread = cut(x, *spec)
        for map_, wanted in ((theirs, ours(x)), (theirs.T, ours.T(x))):
            y, sent = compiled(map_, spread)
            assert sent == set(), spec
            assert close(y, wanted), spec
            assert kept(y, spread), spec
    K = rng.standard_normal((8, 16, 3, 3))
    wanted = cm.conv(K, x.shape[1:], padding=1, channels="first")(x)
    for spec, of_kernel in ((("columns",), ("rows",)), (("columns", "rows"), (None, "rows"))):
        op = cm.conv(cut(K, *of_kernel), x.shape[1:], padding=1, channels="first")
        y, sent = compiled(op, cut(x, *spec))
        assert close(y, wanted), spec
        assert sent == ({"all-reduce"} if "rows" in spec else set()), spec


def every_engine():
    """Transforms and factors of what a device holds."""
    line = np.exp(-(np.arange(-6.0, 7) ** 2) / 9)
    x = rng.standard_normal((64, 64))
    spread = cut(x, "rows", "columns")
    for boundary in ("zero", "reflect"):
        for engine, K in (("fft", rng.standard_normal((13, 13))), ("separable", np.outer(line, line))):
            ours = cm.conv(K, x.shape, padding="same", boundary=boundary)
            theirs = cm.conv(jax.numpy.asarray(K), x.shape, padding="same", boundary=boundary, engine=engine)
            for mine, other in ((ours, theirs), (ours.T, theirs.T)):
                y, sent = compiled(other, spread)
                assert close(y, mine(x)), (boundary, engine)
                assert sent == {"collective-permute"}, (boundary, engine)


def other_meshes():
    """Axes of a mesh in any order, devices in any order, axes that are part of the type, and one device's view."""
    x, K = rng.standard_normal((16, 8)), rng.standard_normal((3, 3))
    options = {"padding": 1, "boundary": "symmetric"}
    ours, theirs = cm.conv(K, x.shape, **options), cm.conv(jax.numpy.asarray(K), x.shape, **options)
    cube = Mesh(np.array(jax.devices())[[3, 1, 0, 2, 7, 6, 5, 4]].reshape(2, 2, 2), ("a", "b", "c"))
    for spec in ((("c", "a"),), ("b", ("c", "a")), (("c", "b", "a"),)):
        spread = cut(x, *spec, mesh=cube)
        assert close(theirs(spread), ours(x)), spec
        assert close(theirs.T(spread), ours.T(x)), spec
        assert kept(theirs(spread), spread), spec
    elsewhere = cm.conv(cut(K, mesh=cube), x.shape, **options)
    spread = cut(x, "rows", "columns")
    assert close(elsewhere(spread), ours(x))
    assert close(jax.jit(elsewhere)(spread), ours(x))
    # What has been cut in another program comes in parts of an axis of the mesh.
    assert close(jax.jit(lambda x: theirs(x.reshape(2, 16, 8)))(cut(np.ravel([x, x]), ("rows", "columns")))[1], ours(x))
    images = np.stack([x] * 8)

    def mapped(K, images):
        op = cm.conv(K, x.shape, **options)
        both = PartitionSpec(("rows", "columns"))
        return jax.shard_map(lambda K, x: cm.conv(K, op.in_shape, **options)(x), mesh=MESH,
                             in_specs=(PartitionSpec(), both), out_specs=both)(K, images)  # fmt: skip

    if hasattr(jax, "shard_map"):
        gradient = jax.jit(jax.grad(lambda K: (mapped(K, images) ** 2).sum()))(jax.numpy.asarray(K))
        one = jax.grad(lambda K: 8 * (cm.conv(K, x.shape, **options)(jax.numpy.asarray(x)) ** 2).sum())
        assert close(gradient, one(jax.numpy.asarray(K)))
    if hasattr(jax, "set_mesh"):
        with jax.set_mesh(jax.make_mesh((4, 2), ("rows", "columns"))) as _:
            spread = jax.device_put(x, PartitionSpec("rows", "columns"))
            y = jax.jit(theirs)(spread)
            assert jax.typeof(y).sharding == jax.typeof(spread).sharding
            assert close(y, ours(x))
            gradients = jax.grad(lambda K, x: (cm.conv(K, (16, 8), stride=2)(x) ** 2).sum(), (0, 1))
            known = gradients(jax.numpy.asarray(K), jax.numpy.asarray(x))
            for gradient, wanted in zip(gradients(jax.numpy.asarray(K), spread), known, strict=True):
                assert close(gradient, np.asarray(wanted))


if __name__ == "__main__":
    every_boundary_and_stride()
    strides_of_single_precision()
    sizes_that_do_not_fit()
    other_factors_than_space()
    every_engine()
    other_meshes()
