"""Windows of arrays as NumPy pads and slides them: an oracle for everything that knows windows."""

import numpy as np

#: Boundaries by NumPy's names.
MODES = {"zero": "constant", "wrap": "wrap", "reflect": "reflect", "edge": "edge", "symmetric": "symmetric"}


def slide(x, kernel, *, stride, dilation, boundary, padding):
    """Return the matrix of windows, (samples * outputs, channels * taps), of arrays (samples, channels, n1..nd)."""
    d = len(kernel)
    for j, (pads, mode) in enumerate(zip(padding, boundary, strict=True)):
        x = np.pad(x, [pads if axis == 2 + j else (0, 0) for axis in range(x.ndim)], MODES[mode])
    spans = [(k - 1) * t + 1 for k, t in zip(kernel, dilation, strict=True)]
    views = np.lib.stride_tricks.sliding_window_view(x, spans, tuple(range(2, 2 + d)))
    views = views[(..., *(slice(None, None, s) for s in stride), *(slice(None, None, t) for t in dilation))]
    views = np.moveaxis(views, 1, 1 + d)
    return views.reshape(len(x) * np.prod(views.shape[1 : 1 + d]), -1)
