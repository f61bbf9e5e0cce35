"""Maps of JAX arrays in compiled functions: ours beside JAX's convolution, in one run, results compared.

    python benchmarks/jitted.py [--part forward|gradients] [--only TEXT] [--quick] [--json FILE]

``other / ours`` above 1 means that ours is the faster.
"""

from functools import partial

import numpy as np
from cases import Case, difference, jax_convolution, same
from measuring import Times, main, medians, optional

from convmtx.engines.select import select_traced
from convmtx.taps import taps_of

jax = optional("jax")
if jax:
    jax.config.update("jax_enable_x64", True)

CASES = [
    Case((384, 384), (31, 31)), Case((512, 512), (7, 7)), Case((512, 512), (15, 15), dtype="f4"),
    Case((512, 512), (31, 31), separable=True), Case((512, 512), (3, 3), dtype="f4", options=same()),
    Case((512, 512), (9, 9), options=same(boundary="reflect")),
    Case((256, 256), (5, 5), dtype="f4", options=same(boundary="wrap")),
    Case((512, 512), (5, 5), options={"stride": 2}), Case((1 << 18,), (31,)), Case((32, 32), (3, 3)),
    Case((64, 64, 64), (3, 3, 3)), Case((28, 28), (5, 5), batch=64),
    Case((56, 56), (3, 3), 64, 64, "f4", options=same()), Case((56, 56), (3, 3), 64, 64, options=same()),
    Case((56, 56), (1, 1), 256, 64, "f4"), Case((28, 28), (3, 3), 128, 128, "f4", 8, options=same(groups=128)),
    Case((32, 32), (3, 3), 16, 32, "f4", 8), Case((16000,), (9,), 16, 32, "f4"),
    Case((112, 112), (7, 7), 3, 64, "f4", options={"stride": 2, "padding": 3}),
    Case((64, 64), (3, 3), 8, 8, options=same(boundary="wrap", dilation=2)),
    Case((24, 24, 24), (3, 3, 3), 4, 8, "f4"),
]  # fmt: skip


def grid(quick):
    return CASES[9::6] if quick else CASES


def forward(quick):
    """The map in a function compiled by JAX.

    Inputs and kernel are arguments of the function. Compared with `jax.lax.conv_general_dilated` in a compiled
    function; boundaries that it does not have are padded by `jax.numpy.pad`. JAX / NumPy: the time over that of the
    same map of a NumPy array. The compilation does not count. Aim: other / ours 1.5 in the geometric mean and nowhere
    below 0.8.
    """
    for case in grid(quick):
        yield case.name, partial(applied, case)


def gradients(quick):
    """The map and its gradients in a function compiled by JAX.

    `jax.value_and_grad`, in the input and in the kernel, of a sum of the outputs with random weights. Aim: as above.
    """
    for case in grid(quick):
        yield case.name, partial(differentiated, case)


def build(case):
    """The map, and functions of inputs and kernel that apply it: ours and JAX's."""
    rng = np.random.default_rng(0)
    kernel = case.kernel(rng)
    op = case.op(kernel)
    return op, lambda x, k: case.op(k)(x), jax_convolution(case, op), jax.numpy.asarray(case.inputs(rng, op))


def applied(case, name, repeat):
    op, ours, theirs, x = build(case)
    kernel, array = jax.numpy.asarray(op.kernel), np.asarray(x)
    functions = {"ours": jax.jit(ours), "jax": jax.jit(theirs)}
    ways = {way: lambda f=f: f(x, kernel).block_until_ready() for way, f in functions.items()}
    ways["NumPy"] = lambda: op(array)
    seconds, results = warm_medians(ways, repeat)
    worst = difference([results["ours"], results["NumPy"]], np.asarray(results["jax"]))
    more = {"JAX / NumPy": seconds["ours"] / seconds["NumPy"]}
    return Times(
        name, seconds["ours"], {"jax": seconds["jax"]}, None, worst, case.agrees(worst), more, engine_of(op, x)
    )  # fmt: skip


def differentiated(case, name, repeat):
    op, ours, theirs, x = build(case)
    kernel = jax.numpy.asarray(op.kernel)
    weights = jax.random.normal(jax.random.key(0), (case.batch, *op.out_shape), x.dtype)

    def compiled(function):
        loss = jax.value_and_grad(lambda x, k: (weights * function(x, k)).sum(), argnums=(0, 1))
        return jax.jit(loss)

    functions = {"ours": compiled(ours), "jax": compiled(theirs)}
    ways = {way: lambda f=f: jax.block_until_ready(f(x, kernel)) for way, f in functions.items()}
    seconds, results = warm_medians(ways, repeat)
    pairs = zip(results["ours"][1], results["jax"][1], strict=True)
    worst = max(difference([mine], np.asarray(other)) for mine, other in pairs)
    return Times(
        name, seconds["ours"], {"jax": seconds["jax"]}, None, worst, case.agrees(worst), {}, engine_of(op, x)
    )  # fmt: skip


def warm_medians(ways, repeat):
    """Median seconds of one call of each way, after a call that compiles, and the last results."""
    for call in ways.values():
        call()
    return medians(ways, repeat, budget=0.5)


def engine_of(op, x):
    """Engine that applies the map to a batch in a compiled function."""
    geometry = op.geometry
    return select_traced("auto", geometry.axes, geometry.groups, taps_of(geometry, op.kernel), x, "cpu").name


if __name__ == "__main__":
    main(__doc__, {"forward": forward, "gradients": gradients} if jax else {}, ["jax"])
