"""Law 6: what does not fit is refused before it is allocated, with the sizes of what does."""

import resource
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import convmtx as cm
from convmtx import memory

VGG = (np.ones((3, 3, 64, 64), np.float32), (224, 224, 64))


@pytest.mark.parametrize("make", ["to_dense", "to_tensor"])
def test_a_dense_form_of_terabytes_is_refused_at_once(make):
    op = cm.conv(*VGG, padding="same")
    tracemalloc.start()
    with pytest.raises(MemoryError) as caught:
        getattr(op, make)()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 1e6
    message = str(caught.value)
    assert message.startswith(f"{make}: the dense form takes 41.2 TB. Available are ")
    assert "These fit: " in message
    assert "operator 147 kB" in message


def test_the_message_names_exactly_the_forms_that_fit(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 2_000_000)
    op = cm.conv(np.ones((3, 3)), (100, 100))
    with pytest.raises(MemoryError, match="takes 768 MB") as caught:
        op.to_dense()
    sizes = op.explain().bytes
    named = str(caught.value).split("These fit: ")[1]

    for form, size in sizes.items():
        assert (f"{form} {memory.human(size)}" in named) is (size <= 2_000_000)
    assert isinstance(caught.value, cm.FormTooLargeError)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia"])
def test_sparse_forms_are_refused_too(monkeypatch, form):
    monkeypatch.setattr(memory, "available", lambda: 1_100_000)
    op = cm.conv(np.ones((5, 5)), (100, 100), padding="same")

    with pytest.raises(MemoryError, match=r"to_sparse: the (csr|csc|coo|bsr|dia) form takes"):
        op.to_sparse(form)
    assert op.to_sparse(form, rows=slice(0, 1)).shape == (1, 10_000)


def test_many_rows_and_their_diagonals_are_refused_too(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1_100_000)
    op = cm.conv(np.ones((5, 5)), (100, 100), padding="same")

    with pytest.raises(MemoryError, match="the rows form takes"):
        op.to_sparse(rows=slice(None))
    with pytest.raises(MemoryError, match="the dia form takes"):
        op.to_sparse("dia", rows=slice(0, 1000))


def test_a_view_that_would_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1_100_000)

    with pytest.raises(MemoryError, match="the view form takes"):
        cm.conv(np.ones((3, 3, 32, 32)), (30, 30, 32)).tensor_view()


def test_maps_made_of_maps_are_refused_too(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 2_000_000)
    op = cm.conv(np.ones((3, 3)), (100, 100), padding="same", boundary="reflect")

    for combined in (op.T, op.T @ op, op.T + op):
        with pytest.raises(MemoryError):
            combined.to_dense()


def test_results_that_cannot_be_are_refused_before_they_are_allocated():
    op = cm.conv([[1.0]], (2, 2), padding=10**9)
    for applied in (op, op.with_kernel([[np.nan]]), cm.conv([[1.0]], (2, 2), padding=10**9, boundary="edge")):
        with pytest.raises(cm.FormTooLargeError, match=r"op\(x\): an output of shape .* takes 32 EB"):
            applied(np.ones((2, 2)))
    with pytest.raises(cm.FormTooLargeError, match="conv: a copy of the kernel takes 8 TB"):
        cm.conv(np.broadcast_to(1.0, (10**6, 10**6)), (10**6, 10**6))
    with pytest.raises(cm.FormTooLargeError, match="conv_transpose: a copy of the kernel takes 8 TB"):
        cm.conv_transpose(np.broadcast_to(1.0, (10**6, 10**6)), (10**6, 10**6))
    with pytest.raises(cm.FormTooLargeError, match="kernel_operator: a copy of the input takes 8 TB"):
        cm.kernel_operator(np.broadcast_to(1.0, (10**6, 10**6)), (3, 3))


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_results_of_other_libraries_are_refused_too(name):
    module = pytest.importorskip(name)
    ones = module.ones if name == "torch" else module.numpy.ones
    with pytest.raises(cm.FormTooLargeError, match=r"op\(x\): an output of shape"):
        cm.conv(ones((1, 1)), (2, 2), padding=10**9)(ones((2, 2)))


def test_the_address_space_limit_counts():
    code = (
        "import resource, numpy as np, convmtx as cm\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
        "op = cm.conv(np.ones((3, 3)), (220, 220))\n"
        "try: op.to_dense()\n"
        "except cm.FormTooLargeError as e: print('refused', e)\n"
        "op.to_sparse(); print('csr made')"
    )
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        pytest.fail("this test needs an unlimited address space to start from")
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert out.startswith("refused to_dense: the dense form takes 18.4 GB")
    assert "csr made" in out


def test_container_limits_count(tmp_path, monkeypatch):
    """Both versions of control groups, as files; page cache that can be dropped counts as free."""
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 50000\n")
    monkeypatch.setattr(memory, "_CGROUP", str(tmp_path))

    assert memory.available() == 150_000

    old = tmp_path / "v1"
    (old / "memory").mkdir(parents=True)
    (old / "memory" / "memory.limit_in_bytes").write_text("2000000\n")
    (old / "memory" / "memory.usage_in_bytes").write_text("500000\n")
    monkeypatch.setattr(memory, "_CGROUP", str(old))

    assert memory.available() == 1_500_000


def test_no_limit_is_no_limit(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("900000\n")
    monkeypatch.setattr(memory, "_CGROUP", str(tmp_path))

    assert memory.available() > 100_000_000


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_234_567, "1.23 MB"), (10**15, "1 PB")]
)
def test_sizes_are_written_for_people(size, text):
    assert memory.human(size) == text


@pytest.mark.parametrize("form", ["tensor_view", "construct"])
def test_view_and_operator_take_memory_of_kernel_and_input_only(form):
    K = np.ones((3, 3, 2, 4))
    op = cm.conv(K, (300, 300, 2))
    tracemalloc.start()
    made = op.tensor_view() if form == "tensor_view" else cm.conv(K, (300, 300, 2), padding="same")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert made.shape[0] > 100
    # One array of twice the input's sides for each channel pair (the tensor has 4 million times that).
    assert peak < (1.1 * 4 * 2 * 600 * 600 * 8 if form == "tensor_view" else 20_000)
