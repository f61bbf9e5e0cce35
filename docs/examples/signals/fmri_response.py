"""
The response of the brain to events, from three runs
====================================================

A scan every two seconds, six kinds of events, and the signal of one region: what is the response to each kind? It is
the kernel that turns events into the signal. Least squares fit a number for each kind and each delay (finite impulse
responses), and a few runs leave them noisy. With two penalties the same runs predict others better: a response is
smooth, and the kinds resemble each other. The recording comes with nitime. Needs nitime and matplotlib.
"""

from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import nitime
import numpy as np
from nitime.analysis import EventRelatedAnalyzer
from nitime.timeseries import TimeSeries

import convmtx as cm

RUNS, SCANS, TAPS, KINDS = 12, 280, 15, 6
table = np.genfromtxt(Path(nitime.__file__).parent / "data/event_related_fmri.csv", delimiter=",", skip_header=1)
signal, kind = (column.reshape(RUNS, SCANS) for column in table.T)
events = (kind[..., None] == np.arange(1, KINDS + 1)).astype(float)  # (runs, scans, kinds)

# %%
# The baseline drifts, and differently in each run: a constant, a line and a parabola of each run are confounds, whose
# sizes are fitted along. Windows do not reach from one run into the next.

drift = np.linalg.qr(np.vander(np.linspace(-1, 1, SCANS), 3))[0].T
drifts = np.einsum("rs,jt->rjst", np.eye(3), drift).reshape(9, 3, SCANS)  # of three runs
options = {"input_shape": (SCANS, KINDS), "padding": [(TAPS - 1, 0)], "flip": True}  # kernels begin at their events
bend = cm.conv(np.reshape([1.0, -2.0, 1.0], (3, 1, 1)), (TAPS, KINDS, 1), padding=[1, 0, 0])  # along delays
difference = cm.conv(np.reshape([1.0, -1.0], (1, 2, 1)), bend.in_shape)  # of neighbouring kinds
penalties = cm.vstack([bend, difference])


def fit(runs, damp):
    data, shape, confounds = (events[runs], signal[runs, :, None]), bend.in_shape, drifts[: 3 * len(runs), : len(runs)]
    return cm.fit_kernel(*data, shape, damp=damp, regularizer=penalties, confounds=confounds, **options)


def fir(runs):
    series = (TimeSeries(array[runs].ravel(), sampling_interval=2) for array in (signal, kind))
    return EventRelatedAnalyzer(*series, TAPS).FIR.data.T[..., None]


def explained(kernel, runs):
    """Return how much of the variance of these runs, less their drifts, is predicted."""
    predicted = cm.kernel_operator(events[runs], kernel.shape, **options)(kernel)[..., 0]
    seen, predicted = (array - array @ drift.T @ drift for array in (signal[runs], predicted))
    return 1 - np.sum((seen - predicted) ** 2) / np.sum(seen**2)


# %%
# Four times, three runs are fitted and the other nine predicted. The weight of the penalties is chosen among the three:
# the one with which two of them predict the third best.

scores, seconds = [], np.zeros(2)
for runs in np.arange(RUNS).reshape(4, 3):
    thirds = [(np.delete(runs, i), runs[[i]]) for i in range(3)]
    damp = max((1, 2, 4, 8, 16), key=lambda d: sum(explained(fit(two, d), third) for two, third in thirds))
    start, theirs = perf_counter(), fir(runs)
    middle, ours = perf_counter(), fit(runs, damp)
    seconds += middle - start, perf_counter() - middle
    scores.append([explained(kernel, np.delete(np.arange(RUNS), runs)) for kernel in (theirs, ours)])
    print(f"runs {runs}: nitime explains {scores[-1][0]:.1%} of the others, with penalties {scores[-1][1]:.1%}")
print(f"time of a fit over that of nitime: {seconds[1] / seconds[0]:.1f}")
assert min(np.array(scores)[:, 1]) > max(np.array(scores)[:, 0])

# %%
# A dense design matrix with confounds and penalties gives the same kernels.

A = np.hstack([cm.kernel_operator(events[runs], ours.shape, **options).to_dense(), drifts.reshape(9, -1).T])
A = np.vstack([A, np.pad(damp * penalties.to_dense(), ((0, 0), (0, 9)))])
dense = np.linalg.lstsq(A, np.r_[signal[runs].ravel(), np.zeros(len(A) - 3 * SCANS)])[0]
assert np.allclose(ours.ravel(), dense[: ours.size], rtol=0, atol=1e-12)

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
for ax, (name, kernel) in {left: ("nitime", theirs), middle: ("with penalties", ours)}.items():
    ax.plot(2 * np.arange(TAPS), kernel[..., 0])
    ax.set(title=f"three runs, {name}", xlabel="seconds after the event", ylim=(-0.7, 0.7))
for place, name, score in zip((-0.2, 0.2), ("nitime", "with penalties"), np.transpose(scores), strict=True):
    right.bar(np.arange(4) + place, score, 0.4, label=name)
right.set(title="explained part of other runs", xticks=[])
right.legend(loc="lower right")

plt.show()
