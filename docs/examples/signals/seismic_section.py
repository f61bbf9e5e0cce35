"""
A seismic section, deconvolved along time and smoothed across traces
====================================================================

Each trace is what the layers of the ground reflect, convolved with the pulse of the source: here with a recorded shot,
which comes with ObsPy. A trace that is deconvolved alone keeps much of its noise. Its neighbours see nearly the same
layers, so a penalty on differences helps. Such a problem is a sum of Kronecker products, which ``cm.solve`` solves
directly, by the vectors of one axis after the other. Needs matplotlib, obspy and pylops.
"""

from importlib.metadata import distribution
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import pylops
from matplotlib.cbook import get_sample_data
from scipy.fft import irfft, rfft
from scipy.ndimage import gaussian_filter
from scipy.signal import decimate

import convmtx as cm

file = distribution("obspy").locate_file("obspy/io/segy/tests/data/1.sgy_first_trace.npy")
pulse = decimate(np.load(file)[0, 400:1300].astype(float), 4, ftype="fir")  # a sample each millisecond
pulse /= np.abs(pulse).max()

# %%
# Reflections of five layers, which have the shapes of real hills: lines of the elevations that come with matplotlib.

TIMES, TRACES = 400, 240
hills = gaussian_filter(get_sample_data("jacksboro_fault_dem.npz")["elevation"].astype(float), 3)
hills = (hills - hills.min()) / np.ptp(hills)
true = np.zeros((TIMES, TRACES))
for depth, line, strength in ((60, 300, 1.0), (125, 260, -0.7), (170, 210, 0.5), (235, 130, 0.8), (300, 40, -0.6)):
    u = (np.arange(TIMES)[:, None] - depth - 50 * hills[line, 80 : 80 + TRACES]) / 4
    true += strength * (1 - u**2) * np.exp(-(u**2) / 2)

op = cm.conv(pulse[:, None], true.shape, padding=[(pulse.size - 1, 0), 0], flip=True)
seen = op(true)
seen += 0.4 * np.std(seen) * np.random.default_rng(0).standard_normal(seen.shape)


def error(x):
    return np.linalg.norm(x - true) / np.linalg.norm(true)


# %%
# Trace by trace: spectral division with a water level, and damped least squares, each with the best level there is.

p, s = rfft(pulse, 1024)[:, None], rfft(seen, 1024, axis=0)
waters = np.geomspace(1e-3, 1, 20) * np.max(abs(p) ** 2)
divided = min((irfft(s * p.conj() / np.maximum(abs(p) ** 2, w), axis=0)[:TIMES] for w in waters), key=error)
alone = min((cm.solve(op, seen, damp=damp).x for damp in np.geomspace(1, 4, 6)), key=error)

# %%
# All traces together. Cross-validation chooses the damping, without the true layers.

across = cm.conv([[1.0, -1.0]], true.shape)
penalties = cm.vstack([cm.identity(true.shape), 5 * across])
damp = cm.choose_damp(op, seen, regularizer=penalties).damp

shot = pylops.signalprocessing.Convolve1D(true.shape, pulse, offset=0, axis=0)
terms = [pylops.Identity(true.size), pylops.FirstDerivative(true.shape, axis=1, kind="forward")]
invert = pylops.optimization.leastsquares.regularized_inversion

start = perf_counter()
solution = cm.solve(op, seen, damp=damp, regularizer=penalties)
middle = perf_counter()
found = invert(shot, seen.ravel(), terms, epsRs=[damp, 5 * damp], engine="scipy", atol=1e-5, btol=1e-5)
print(f"time of PyLops' LSQR over that of solve: {(perf_counter() - middle) / (middle - start):.1f}, {found[2]} steps")
print(solution.method)
assert np.linalg.norm(found[0] - solution.x.ravel()) < 1e-3 * np.linalg.norm(solution.x)

images = {"recorded": seen, "division": divided, "damped": alone, "all traces": solution.x, "true": true}
print(*(f"{name}: error {error(images[name]):.2f}" for name in ("division", "damped", "all traces")), sep="\n")
assert error(solution.x) < 0.8 * min(error(divided), error(alone))

figure, axes = plt.subplots(1, 5, figsize=(12, 3.6), sharey=True, layout="constrained")
for ax, (name, image) in zip(axes, images.items(), strict=True):
    peak = 0.7 * np.abs(image).max()
    ax.imshow(image, cmap="RdBu", vmin=-peak, vmax=peak, aspect="auto")
    ax.set_title(name, fontsize=10)
axes[0].set(xlabel="trace", ylabel="milliseconds")

plt.show()
