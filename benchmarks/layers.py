"""A layer's matrix and its forward pass in PyTorch: ours beside PyTorch's own ways, in one run, results compared.

    python benchmarks/layers.py [--part matrix|forward] [--only TEXT] [--quick] [--json FILE]

``other / ours`` above 1 means that ours is the faster.
"""

from functools import partial

import numpy as np
from measuring import Times, main, medians, optional

import convmtx as cm

torch = optional("torch")


def matrix(quick):
    """The matrix of a `torch.nn.Conv2d`.

    The dense matrix by `cm.from_torch`, compared with `torch.func.jacrev` and with the layer applied to the identity.
    Limit: the time to touch new memory of the same size. Aim: other / ours at least 20.
    """
    for channels, n in [(8, 12)] if quick else [(8, 24), (16, 24)]:
        yield f"Conv2d({channels}, {channels}, 3), {n}x{n}", partial(of_layer, channels, n)


def of_layer(channels, n, case, repeat):
    layer = torch.nn.Conv2d(channels, channels, 3, bias=False)
    x, K, size = torch.randn(channels, n, n), layer.weight.detach(), channels * n * n
    op = cm.from_torch(layer, (channels, n, n)).op
    rows, columns = op.shape
    identity = torch.eye(size).reshape(-1, channels, n, n)

    def touched():
        np.zeros(rows * columns, np.float32)[::1024] = 1  # a write to each page

    ways = {
        "ours": op.to_dense,
        "jacrev": lambda: torch.func.jacrev(lambda x: torch.nn.functional.conv2d(x[None], K))(x).reshape(op.shape),
        "identity": lambda: torch.nn.functional.conv2d(identity, K).reshape(columns, rows).T,
        "fresh memory": touched,
    }
    seconds, results = medians(ways, repeat)
    limit, ours = seconds.pop("fresh memory"), seconds.pop("ours")
    worst = max((results[name] - results["ours"]).abs().max().item() for name in seconds)
    return Times(case, ours, seconds, limit, worst, worst == 0)


def forward(quick):
    """The map of tensors under autograd.

    Compared with `torch.nn.functional.conv2d`. Aim: other / ours at least 0.9.
    """
    for batch, channels, size in [(1, 16, 24), (8, 16, 56), (8, 64, 56), (32, 64, 28), (16, 256, 14)][
        : 2 if quick else None
    ]:
        yield f"{batch} x {channels} x {size} x {size}", partial(under_autograd, batch, channels, size)


def under_autograd(batch, channels, size, case, repeat):
    K = torch.randn(channels, channels, 3, 3, requires_grad=True)
    x = torch.randn(batch, channels, size, size)
    op = cm.conv(K, (channels, size, size), channels="first", padding=1)
    ways = {"ours": partial(op, x), "conv2d": partial(torch.nn.functional.conv2d, x, K, padding=1)}
    seconds, results = medians(ways, 5 * repeat)
    worst = (results["conv2d"] - results["ours"]).abs().max().item()
    # Each sum of m products is within (m + 4) * eps of the exact one, relative to the sum of magnitudes.
    magnitudes = torch.nn.functional.conv2d(x.abs(), K.abs(), padding=1).max().item()
    bound = 2 * (9 * channels + 4) * torch.finfo(x.dtype).eps * magnitudes
    return Times(case, seconds.pop("ours"), seconds, None, worst, worst <= bound)


if __name__ == "__main__":
    main(__doc__, {"matrix": matrix, "forward": forward} if torch else {}, ["torch"])
