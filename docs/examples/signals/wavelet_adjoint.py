"""
The adjoint of a wavelet transform is not its inverse
=====================================================

Solvers ask a prior for its transform and the adjoint. With PyWavelets, people pass ``wavedec`` and ``waverec``. For an
orthogonal wavelet this is right inside the signal, but not at its ends: "symmetric" and most other modes read entries
twice there. ``cm.dwt`` is the same transform with its own transpose. The signal is an electrocardiogram that comes with
PyWavelets. Needs PyWavelets and matplotlib.
"""

import matplotlib.pyplot as plt
import numpy as np
import pywt
from scipy.sparse.linalg import LinearOperator, lsmr

import convmtx as cm

# %%
# The matrices of a small transform. The transpose and the inverse differ in the rows at both ends.

W = cm.dwt(32, "db4", level=2)
coefficients = np.eye(W.shape[0])
inverse = np.stack([pywt.waverecn(W.coefficients(c), "db4") for c in coefficients], axis=1)
transpose = W.H(coefficients).T
assert np.allclose(inverse @ W.to_dense(), np.eye(32))
assert np.allclose(transpose, W.to_dense().T)
print(f"largest difference: {np.abs(inverse - transpose).max():.2f}")

figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
shown = {"W": W.to_dense(), "transpose": transpose, "inverse - transpose": inverse - transpose}
for ax, (name, matrix) in zip(axes, shown.items(), strict=True):
    ax.imshow(matrix, cmap="RdBu", vmin=-1, vmax=1)
    ax.set_title(name)

# %%
# Now a blurred electrocardiogram is made sharp, with a penalty on the details of five levels.

ecg = pywt.data.ecg().astype(float)
ecg = (ecg - np.median(ecg)) / np.ptp(ecg)
taps = np.exp(-(np.arange(-20, 21) ** 2) / 50)
blur = cm.conv(taps / taps.sum(), ecg.size, padding="same", boundary="symmetric")
seen = blur(ecg) + 0.01 * np.random.default_rng(0).standard_normal(ecg.size)

damp, W = 0.1, cm.dwt(ecg.size, "db4", level=5)
coarse = len(pywt.wavedec(ecg, "db4", level=5)[0])
details = W[coarse:]
exact = cm.solve(blur, seen, damp=damp, regularizer=details)
print(exact)

# %%
# SciPy's ``lsmr`` finds the same minimizer with our adjoint. With the inverse in its place it stops elsewhere, and more
# iterations do not help.


def adjoint(c):
    return details.H(c)


def inverse_as_adjoint(c):
    return pywt.waverecn(W.coefficients(np.concatenate([np.zeros(coarse), c])), "db4")


def distance_after(iterations, back):
    n, m = ecg.size, details.shape[0]
    system = LinearOperator(
        (n + m, n),
        matvec=lambda x: np.concatenate([blur(x), damp * details(x)]),
        rmatvec=lambda y: blur.H(y[:n]) + damp * back(y[n:]),
    )
    right_hand_side = np.concatenate([seen, np.zeros(m)])
    return lsmr(system, right_hand_side, atol=0, btol=0, conlim=0, maxiter=iterations)[0] - exact.x


figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
axes[0].plot(seen, lw=0.6, label="blurred")
axes[0].plot(exact.x, lw=0.8, label="sharpened")
axes[0].legend()
for back in (adjoint, inverse_as_adjoint):
    off = distance_after(500, back)
    print(f"{back.__name__}: {np.linalg.norm(off) / np.linalg.norm(exact.x):.0e} from the minimizer")
    axes[1].semilogy(np.abs(off), lw=0.6, label=back.__name__)
axes[1].set(xlabel="sample", title="distance from the minimizer")
axes[1].legend()
assert np.linalg.norm(distance_after(500, adjoint)) < 1e-4 * np.linalg.norm(off)

plt.show()
