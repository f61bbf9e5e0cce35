"""Restoration with constraints: ours beside SciPy, scikit-image and pyproximal, to the same objective, in one run.

    python benchmarks/constrained.py [--part PART] [--only TEXT] [--quick] [--json FILE]

Parts: nonnegative, variation, counts. Every method runs until it reaches the objective at which ours stops, and its
seconds are those until then. ``other / ours`` above 1 means that ours is the faster. A method after "stopped:" did not
get there: its seconds are fewer than it needs.
"""

import time
from functools import partial

import numpy as np
import scipy.optimize
from measuring import Times, main, medians, optional
from problems import bell, motion

import convmtx as cm

pictures, restoration = optional("skimage.data"), optional("skimage.restoration")
proximal, proximal_solvers = optional("pyproximal"), optional("pyproximal.optimization.primal")
pylops = optional("pylops")
BLURS = {"Gauss": np.outer(bell(9, 2.0), bell(9, 2.0)), "motion": motion(9)}
LONGEST = 20.0  # s, after which a method is stopped
EVER = 10**6  # steps


def scene(name, n):
    """A photograph with its dark parts cut to 0, or a field of stars where there is none."""
    if name == "photograph" and pictures is not None:
        return np.maximum(pictures.camera()[:: 512 // n, :: 512 // n] / 255.0 - 0.2, 0)
    rng = np.random.default_rng(0)
    return 5 * rng.exponential(1.0, (n, n)) * (rng.random((n, n)) > 0.998)


class Reached(Exception):  # noqa: N818  # no error
    """The objective is as small as it has to be, or time is up."""


def seconds_to(goal, objective, method):
    """Seconds until a method has shown an x of an objective up to the goal, and the least objective that it showed.

    A method takes a function that it calls with each x. What that function does is not counted; with ``again``, neither
    is what the method did before the last time.
    """
    best, seconds, start = np.inf, 0.0, time.perf_counter()

    def show(x, again=False):
        nonlocal best, seconds, start
        seconds = time.perf_counter() - start + (0 if again else seconds)
        best = min(best, objective(x))
        if best <= goal or seconds > LONGEST:
            raise Reached
        start = time.perf_counter()

    try:
        method(show)
        seconds += time.perf_counter() - start
    except Reached:
        pass
    return seconds, best


def race(case, objective, ours, others, repeat):
    """Row of methods to the objective of what ours returns; methods take turns, those that are stopped only one."""
    stopped = []
    times, late = {name: [] for name in ("ours", *others)}, set()
    for _ in range(repeat):
        start = time.perf_counter()
        result = ours()
        times["ours"].append(time.perf_counter() - start)
        goal = objective(result.x) * (1 + 1e-9)
        for name, method in others.items():
            if name not in late:
                seconds, best = seconds_to(goal, objective, method)
                times[name].append(seconds)
                if best > goal or seconds > LONGEST / 4:
                    late.add(name)
                if best > goal:
                    stopped.append(name)
    typical = {name: float(np.median(seconds)) for name, seconds in times.items()}
    note = f"stopped: {', '.join(stopped)}" if stopped else ""
    more = {"steps": result.iterations, "gap": float(result.gap)}
    return Times(case, typical.pop("ours"), typical, agrees=result.converged, more=more, note=note)


# Bounds


def nonnegative(quick):
    """Deblurring with nonnegative pixels.

    512x512, 9x9 taps, zero boundary, 'same', noise of 0.01. The objective is ``norm(op(x) - b)**2 + damp**2 *
    norm(x)**2`` for x >= 0. Ours stops at a duality gap of 1e-4 of the objective. Compared with SciPy's L-BFGS-B, with
    accelerated projected gradients that are started again where they turn back (FISTA), and with pyproximal's. These
    use the engines of op, and start at ``max(b, 0)``. Aim: SciPy's and pyproximal's / ours at least 3.
    """
    n = 64 if quick else 512
    for name in ("photograph", "stars"):
        for blur, damp in (("Gauss", 0.03), ("motion", 0.01))[: 1 if quick else 2]:
            yield f"{name} {n}x{n} {blur} damp {damp:g}", partial(nonnegatives, name, n, blur, damp)


def nonnegatives(name, n, blur, damp, case, repeat):
    op = cm.conv(BLURS[blur], (n, n), padding="same")
    b = op(scene(name, n)) + 0.01 * np.random.default_rng(1).standard_normal((n, n))

    def objective(x):
        return np.sum((op(x) - b) ** 2) + damp**2 * np.sum(x**2)

    others = {
        "L-BFGS-B": partial(by_lbfgsb, op, b, damp),
        "FISTA": partial(by_fista, op, b, damp),
    }
    if proximal is not None and pylops is not None:
        others["pyproximal"] = partial(by_pyproximal, op, b, damp)
    return race(case, objective, partial(cm.solve, op, b, damp=damp, bounds=(0, None)), others, min(repeat, 3))


def by_lbfgsb(op, b, damp, show):
    def both(v):
        x = v.reshape(op.in_shape)
        r = op(x) - b
        return np.sum(r**2) + damp**2 * np.sum(x**2), 2 * (op.T(r) + damp**2 * x).ravel()

    scipy.optimize.minimize(
        both, np.maximum(b, 0).ravel(), jac=True, method="L-BFGS-B", bounds=scipy.optimize.Bounds(0, np.inf),
        callback=lambda v: show(v.reshape(op.in_shape)),
        options={"maxiter": EVER, "maxfun": EVER, "ftol": 0, "gtol": 0},
    )  # fmt: skip


def by_fista(op, b, damp, show):
    """Steps of length 1, for blurs of norm 1 (Beck, Teboulle 2009; O'Donoghue, Candes 2015)."""
    x = y = np.maximum(b, 0)
    t = 1.0
    for _ in range(EVER):
        new = np.maximum(y - (op.T(op(y) - b) + damp**2 * y) / (1 + damp**2), 0)
        if np.vdot(y - new, new - x) > 0:
            t = 1.0
        following = (1 + (1 + 4 * t**2) ** 0.5) / 2
        x, y, t = new, new + (t - 1) / following * (new - x), following
        show(x)


def by_pyproximal(op, b, damp, show):
    stacked = pylops.VStack([cm.to_pylops(op), damp * pylops.Identity(op.shape[1])])
    right = np.concatenate([b.ravel(), np.zeros(op.shape[1])])
    proximal_solvers.ProximalGradient(
        proximal.L2(Op=stacked, b=right), proximal.Box(lower=0.0), np.maximum(b, 0).ravel(), tau=1 / (1 + damp**2),
        niter=EVER, acceleration="fista", callback=lambda v: show(v.reshape(op.in_shape)),
    )  # fmt: skip


# Total variation


def variation(quick):
    """Deblurring with total variation.

    The objective is ``norm(op(x) - b)**2 + damp**2 * tv(x)`` with the isotropic total variation of x. Ours stops at a
    gap of 1e-3 of the objective. Compared with the primal-dual method of Chambolle and Pock on the engines of op, and,
    where op is the identity, with `skimage.restoration.denoise_tv_chambolle`.
    """
    n = 32 if quick else 256
    for blur, damp in (("none", 0.4), ("Gauss", 0.03))[: 1 if quick else 2]:
        yield f"photograph {n}x{n} {blur} damp {damp:g}", partial(variations, n, blur, damp)


def variations(n, blur, damp, case, repeat):
    op = cm.identity((n, n)) if blur == "none" else cm.conv(BLURS[blur], (n, n), padding="same", boundary="reflect")
    noise = 0.1 if blur == "none" else 0.01
    b = op(scene("photograph", n)) + noise * np.random.default_rng(1).standard_normal((n, n))

    def objective(x):
        return np.sum((op(x) - b) ** 2) + damp**2 * np.sqrt(np.sum(steps_of(x) ** 2, axis=0)).sum()

    others = {"Chambolle-Pock": partial(by_chambolle_pock, op, b, damp, (1.01 * cm.norm(op).value) ** 2 + 8)}
    if restoration is not None and blur == "none":
        others["skimage"] = partial(by_skimage, b, damp)
    ours = partial(cm.solve, op, b, damp=damp, penalty="tv", gtol=1e-3)
    return race(case, objective, ours, others, min(repeat, 3))


def steps_of(x):
    """Forward differences along both axes, 0 past the end."""
    steps = np.zeros((2, *x.shape))
    steps[0, :-1], steps[1, :, :-1] = np.diff(x, axis=0), np.diff(x, axis=1)
    return steps


def steps_back(y):
    """The adjoint of `steps_of`."""
    x = np.zeros(y.shape[1:])
    for axis in range(2):
        part = np.moveaxis(y[axis], axis, 0)[:-1]
        to = np.moveaxis(x, axis, 0)
        to[1:] += part
        to[:-1] -= part
    return x


def by_chambolle_pock(op, b, damp, squared_norm, show):
    """Both terms by their duals (Chambolle, Pock 2011)."""
    tau = sigma = squared_norm**-0.5
    x, ahead = b.copy(), b.copy()
    p, q = np.zeros_like(b), np.zeros((2, *b.shape))
    for _ in range(EVER):
        p = (p + sigma * (op(ahead) - b)) / (1 + sigma / 2)
        q = q + sigma * steps_of(ahead)
        q /= np.maximum(np.sqrt((q**2).sum(axis=0)) / damp**2, 1)
        new = x - tau * (op.T(p) + steps_back(q))
        x, ahead = new, 2 * new - x
        show(x)


def by_skimage(b, damp, show):
    """Runs of more and more steps, for it shows nothing while it runs; the last is timed."""
    steps = 8
    while steps < EVER:
        show(restoration.denoise_tv_chambolle(b, weight=damp**2 / 2, eps=0, max_num_iter=steps), again=True)
        steps *= 2


# Counts


def counts(quick):
    """Restoring counts.

    512x512, 9x9 taps, Poisson data of up to 1000 counts a pixel, zeros around. `cm.richardson_lucy` runs until the
    Kullback-Leibler divergence is that of 50 steps of `skimage.restoration.richardson_lucy`, plain and accelerated.
    """
    n = 64 if quick else 512
    for name in ("photograph", "stars"):
        yield f"{name} {n}x{n} Gauss", partial(counted, name, n)


def counted(name, n, case, repeat):
    psf = BLURS["Gauss"]
    op = cm.conv(psf, (n, n), padding="same", flip=True)
    b = np.random.default_rng(1).poisson(1000 * op(scene(name, n)) + 1.0).astype(float)
    start = np.full(b.shape, b.mean())

    def divergence(x):
        y = np.maximum(op(x), 1e-12)
        return np.sum(np.where(b > 0, b * np.log(np.maximum(b, 1) / y), 0) - b + y)

    others = {}
    goal = None
    if restoration is not None:
        theirs = partial(restoration.richardson_lucy, b, psf, num_iter=50, clip=False)
        goal = divergence(theirs())
        others["skimage"] = theirs
    steps = {}
    for accelerate in (False, True):
        history = cm.richardson_lucy(op, b, x0=start, maxiter=200, rtol=1e-12, accelerate=accelerate).history
        steps[accelerate] = next((j for j, value in enumerate(history) if goal and value <= goal), 50)
    methods = {
        "ours": partial(cm.richardson_lucy, op, b, x0=start, maxiter=steps[True], rtol=1e-12, accelerate=True),
        "plain": partial(cm.richardson_lucy, op, b, x0=start, maxiter=steps[False], rtol=1e-12),
        **others,
    }
    seconds, results = medians(methods, min(repeat, 3))
    more = {"plain": 1e3 * seconds.pop("plain"), "steps": steps[True], "plain steps": steps[False]}
    agrees = goal is None or bool(divergence(results["ours"].x) <= goal * (1 + 1e-9))
    return Times(case, seconds.pop("ours"), seconds, agrees=agrees if others else None, more=more)


if __name__ == "__main__":
    parts = (nonnegative, variation, counts)
    main(__doc__, {part.__name__: part for part in parts}, ["scikit-image"])
