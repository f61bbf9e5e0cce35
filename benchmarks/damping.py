"""Time the choice of a damping for photographs, and show how far the error of x then is above the least.

python benchmarks/damping.py [--only TEXT] [--quick] [--json FILE]
"""

from functools import partial

import numpy as np
import scipy.ndimage
import scipy.optimize
from measuring import Times, main, medians, optional
from problems import bell, motion, same

import convmtx as cm

pictures = optional("skimage.data")
BLURS = {"Gauss": np.outer(bell(9, 2.0), bell(9, 2.0)), "motion": motion(9)}
NOISE = 0.02


def photographs(quick):
    """The damping of a blurred photograph.

    9x9 taps, white noise of 0.02. A field of smooth bumps stands in for the photograph where scikit-image is missing.
    The other way to "discrepancy" is Brent's method on solves, to 1% of the damping. *error / best* is the error of x
    with the chosen damping over the least error of this, half, two times and four times as much. Aim: 20 s for the
    motion blur of 1024x1024, and error / best at most 1.1.
    """
    n = 48 if quick else 256
    yield f"{n}x{n} motion reflect, discrepancy", partial(chosen, n, "motion", same("reflect"), "discrepancy", None, 0)
    n = 64 if quick else 1024
    for rule in ("discrepancy", "gcv", "rgcv"):
        yield f"{n}x{n} motion reflect, {rule}", partial(chosen, n, "motion", same("reflect"), rule, None, 0)
    n = 48 if quick else 256
    yield f"{n}x{n} Gauss wrap, gcv", partial(chosen, n, "Gauss", same("wrap"), "gcv", None, 0)
    yield f"{n}x{n} Gauss edge, gradient, gcv", partial(chosen, n, "Gauss", same("edge"), "gcv", gradient, 0)
    yield f"{n}x{n} Gauss edge, a tenth missing, gcv", partial(chosen, n, "Gauss", same("edge"), "gcv", None, 0.1)


def scene(n):
    """A photograph of n x n pixels."""
    if pictures is not None:
        return scipy.ndimage.zoom(pictures.camera() / 255.0, n / 512, order=1)
    return scipy.ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((n, n)), 5) * 5


def gradient(shape):
    """Differences along both axes, without those past the end."""
    return [cm.conv(step, shape) for step in ([[-1.0], [1.0]], [[-1.0, 1.0]])]


def chosen(n, blur, options, rule, penalty, missing, case, repeat):
    op, x, rng = cm.conv(BLURS[blur], (n, n), **options), scene(n), np.random.default_rng(1)
    b, mask = op(x) + NOISE * rng.standard_normal((n, n)), rng.random((n, n)) >= missing
    with_penalty = {} if penalty is None else {"regularizer": penalty(x.shape)}
    noise = NOISE if rule == "discrepancy" else None

    def ours():
        return cm.choose_damp(op, b, rule, noise=noise, mask=mask, **with_penalty)

    def solution(damp):
        return cm.solve(op, b, damp=damp, mask=mask, **with_penalty)

    def by_brent():
        level = NOISE * np.sqrt(mask.sum())
        return 10 ** scipy.optimize.brentq(lambda t: float(solution(10**t).residual) - level, -2, 1, xtol=0.004)

    ways = {"ours": ours, "Brent": by_brent} if rule == "discrepancy" and n <= 256 else {"ours": ours}
    seconds, results = medians(ways, min(repeat, 3))
    damp = float(results["ours"])
    errors = [np.linalg.norm(solution(damp * 2.0**j).x - x) for j in (-1, 0, 1, 2)]
    difference = abs(np.log(results["Brent"] / damp)) if "Brent" in ways else None
    others = {name: value for name, value in seconds.items() if name != "ours"}
    agrees = None if difference is None else bool(difference < 0.02)
    return Times(case, seconds["ours"], others, None, difference, agrees, {"error / best": errors[1] / min(errors)})


if __name__ == "__main__":
    main(__doc__, {"photographs": photographs}, ["scikit-image"])
