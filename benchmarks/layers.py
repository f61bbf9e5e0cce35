"""A layer's matrix and its forward pass in PyTorch: ours beside PyTorch's own ways, in one run, results compared.

    python benchmarks/layers.py [--repeat 7]

Medians over interleaved repetitions. ``theirs/ours`` above 1 means that ours is the faster. The limit of a dense matrix
is the time that it takes to touch fresh memory of its size.
"""

import argparse
import statistics
import time
from functools import partial

import numpy as np
import torch
from torch.nn import functional

import convmtx as cm


def medians(ways, repeat):
    """Seconds of each way."""
    times = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(repeat):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def matrices(repeat):
    layer = torch.nn.Conv2d(16, 16, 3, bias=False)
    x, size = torch.randn(16, 24, 24), 16 * 24 * 24
    K = layer.weight.detach()
    identity = torch.eye(size).reshape(-1, 16, 24, 24)
    op = cm.from_torch(layer, (16, 24, 24)).op
    rows, columns = op.shape

    def touched():
        np.zeros(rows * columns, np.float32)[::1024] = 1  # a write to each page

    ways = {
        "to_dense": lambda: op.to_dense(),
        "jacrev": lambda: torch.func.jacrev(lambda x: functional.conv2d(x[None], K))(x).reshape(op.shape),
        "identity": lambda: functional.conv2d(identity, K).reshape(columns, rows).T,
        "to_sparse": lambda: op.to_sparse("csr"),
        "fresh pages": touched,
    }
    assert torch.equal(ways["to_dense"](), ways["jacrev"]())
    assert torch.equal(ways["to_dense"](), ways["identity"]())
    found = medians(ways, repeat)
    print(f"matrix of Conv2d(16, 16, 3) on 24 x 24: {rows} x {columns}")
    for name, wanted in (("jacrev", 50), ("identity", 20)):
        ratio = found[name] / found["to_dense"]
        print(f"  {name:<10}{1e3 * found[name]:>9.1f} ms   theirs/ours {ratio:>6.1f} (wanted >= {wanted})")
    for name in ("to_dense", "to_sparse"):
        print(f"  {name:<10}{1e3 * found[name]:>9.1f} ms")
    print(f"  limit     {1e3 * found['fresh pages']:>9.1f} ms   {found['fresh pages'] / found['to_dense']:.0%} of ours")


def forward(repeat):
    print("forward under autograd, ours over torch's conv2d (wanted <= 1.1)")
    ratios = []
    for channels, size, batch in [(16, 24, 1), (16, 56, 8), (64, 56, 8), (64, 28, 32), (256, 14, 16)]:
        K = torch.randn(channels, channels, 3, 3, requires_grad=True)
        x = torch.randn(batch, channels, size, size)
        op = cm.conv(K, (channels, size, size), channels="first", padding=1)
        ways = {"ours": partial(op, x), "theirs": partial(functional.conv2d, x, K, padding=1)}
        assert torch.equal(ways["ours"](), ways["theirs"]())
        found = medians(ways, 10 * repeat)
        ratios.append(found["ours"] / found["theirs"])
        name = f"{batch} x {channels} x {size} x {size}"
        print(f"  {name:<20}{1e3 * found['theirs']:>9.2f} ms   {ratios[-1]:.2f}")
    print(f"  median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=7)
    repeat = parser.parse_args().repeat
    matrices(repeat)
    forward(repeat)
