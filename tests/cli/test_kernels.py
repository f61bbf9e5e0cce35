"""Where kernels come from: names by their formulas, and files as the programs that own the formats write them."""

import io
import json
import os
import struct
import zipfile
import zlib

import h5py
import numpy as np
import pytest
import safetensors.numpy
import scipy.io
import scipy.ndimage
from PIL import Image

from convmtx.cli.kernels import read_kernel

K = np.random.default_rng(0).normal(size=(3, 2))


def impulse(pixels, filtered, **options):
    """What a filter of scipy.ndimage makes of a single pixel: its kernel, reversed in both axes."""
    x = np.zeros((pixels, pixels))
    x[pixels // 2, pixels // 2] = 1
    return filtered(x, mode="constant", **options)[::-1, ::-1]


# Names


@pytest.mark.parametrize(("name", "size", "sigma"), [("gaussian:9:2", 9, 2), ("gaussian:5:0.75", 5, 0.75)])
def test_gaussian(name, size, sigma):
    wanted = impulse(size, scipy.ndimage.gaussian_filter, sigma=sigma, radius=size // 2)
    np.testing.assert_allclose(read_kernel(name), wanted, rtol=1e-14)


def test_gaussian_of_even_size_and_of_no_width():
    bell = np.exp(-(np.array([-1.5, -0.5, 0.5, 1.5]) ** 2) / 8)
    np.testing.assert_allclose(read_kernel("gaussian:4:2"), np.outer(bell, bell) / bell.sum() ** 2, rtol=1e-14)
    assert read_kernel("gaussian:3:0.00000001").tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert read_kernel("gaussian:2:0.00000001").tolist() == [[0.25, 0.25], [0.25, 0.25]]


def test_box_sobel_and_laplacian():
    np.testing.assert_allclose(read_kernel("box:5"), impulse(5, scipy.ndimage.uniform_filter, size=5), rtol=1e-14)
    for name, axis in (("sobel", 1), ("sobel:x", 1), ("sobel:y", 0)):
        assert np.array_equal(read_kernel(name), impulse(3, scipy.ndimage.sobel, axis=axis))
    assert np.array_equal(read_kernel("laplacian"), impulse(3, scipy.ndimage.laplace))


def test_motion_along_axes_is_a_mean():
    np.testing.assert_allclose(read_kernel("motion:9:0"), np.full((1, 9), 1 / 9), rtol=1e-14)
    np.testing.assert_allclose(read_kernel("motion:9:90"), np.full((9, 1), 1 / 9), rtol=1e-14)
    np.testing.assert_allclose(read_kernel("motion:4:180"), np.array([[1, 2, 2, 2, 1]]) / 8, rtol=1e-14)
    assert read_kernel("motion:1:33").tolist() == [[1]]


@pytest.mark.parametrize(("length", "angle"), [(9, 30), (7, -45), (6, 117), (2.5, 80)])
def test_motion_falls_off_with_the_distance_from_the_line(length, angle):
    found = read_kernel(f"motion:{length}:{angle}")
    points = np.linspace(-1, 1, 20001)[:, None] * (length - 1) / 2
    points = points * [-np.sin(np.radians(angle)), np.cos(np.radians(angle))]  # rows grow downwards
    rows, columns = found.shape
    weights = np.zeros((rows + 2, columns + 2))  # a margin: no pixel around has a weight
    for r, c in np.ndindex(weights.shape):
        away = np.hypot(*(np.array([r - (rows + 1) / 2, c - (columns + 1) / 2]) - points).T).min()
        weights[r, c] = max(1 - away, 0)
    np.testing.assert_allclose(np.pad(found, 1), weights / weights.sum(), atol=1e-5)


@pytest.mark.parametrize(
    "name",
    ["gaussian", "gaussian:9", "gaussian:0:1", "gaussian:9:0", "gaussian:9:-1", "gaussian:2.5:1", "gaussian:9:1:1",
     "gaussian:9:nan", "gaussian:9:1e", "box", "box:-3", "box:", "motion:9", "motion:0:0", "motion:0.5:0", "sobel:z",
     "sobel:x:y", "laplacian:3", "gaussian:\uff19:2"],
)  # fmt: skip
def test_names_that_are_wrong_tell_how_they_are_written(here, refusal, name):
    told = refusal("info", name, "--input", "9,9")
    kind = name.partition(":")[0]
    assert f"Expected {kind}" in told


def test_names_that_are_close_are_told(here, refusal):
    assert "Names are gaussian:SIZE:SIGMA." in refusal("info", "guassian:9:2", "--input", "9,9")
    assert "motion:LENGTH:ANGLE, sobel" in refusal("info", "xyz", "--input", "9,9")
    assert "no_such.npy: No such file" in refusal("info", "no_such.npy", "--input", "9,9")


def test_kernels_of_any_size_are_refused_before_they_are_made(here, refusal):
    for name in ("gaussian:99999999:1", "box:999999999", "motion:999999999:45"):
        assert "Expected at most an eighth of the memory" in refusal("info", name, "--input", "9,9")


def test_numbers_of_names_are_written_in_any_way(here, said):
    for one, other in (("gaussian:3:.5", "gaussian:3:0.5"), ("gaussian:3:5e-1", "gaussian:3:.50"),
                       ("motion:9:+3e1", "motion:9:30"), ("motion:.9e1:30", "motion:9:390")):  # fmt: skip
        for name, path in ((one, "a.npy"), (other, "b.npy")):
            said("matrix", name, "--input", "9,9", "-o", path)
        assert np.array_equal(np.load("a.npy"), np.load("b.npy"))


def test_each_channel_by_itself(facts):
    for shape, extra in (("16,17,3", []), ("3,16,17", ["--channels", "first"])):
        found = facts("info", "sobel", "--input", shape, *extra)["explanation"]
        assert (found["groups"], found["in_channels"], found["out_channels"]) == (3, 3, 3)


def test_channels_each_by_itself_are_the_same_map(here, said):
    said("matrix", "sobel", "--input", "5,6,2", "-o", "W.npy")
    x = np.random.default_rng(1).normal(size=(5, 6, 2))
    wanted = [scipy.ndimage.sobel(x[..., c], axis=1)[1:-1, 1:-1] for c in range(2)]
    np.testing.assert_allclose(np.load("W.npy") @ x.ravel(), np.stack(wanted, -1).ravel(), atol=1e-13)


def test_groups_beside_channels_that_are_groups_already(here, refusal):
    assert "Leave --groups out" in refusal("info", "sobel", "--input", "5,6,3", "--groups", "3")


# Files, as their own programs write them


def mat73(path, **arrays):
    """What MATLAB writes: columns as rows, a class beside them, behind a block of 512 bytes."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            if array.dtype.kind == "c":
                parts = np.zeros(array.T.shape, [("real", "f8"), ("imag", "f8")])
                parts["real"], parts["imag"] = array.T.real, array.T.imag
            file[name] = parts if array.dtype.kind == "c" else array.T
            file[name].attrs["MATLAB_class"] = np.bytes_("double")
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")


def written(kind):
    """One kernel in a file of each kind, and how it is named."""
    if kind == "npz":
        np.savez("k.npz", K)
    elif kind == "npz:K":
        np.savez_compressed("k.npz", other=np.zeros(3), K=K)
    elif kind == "csv":
        np.savetxt("k.csv", K, delimiter=",", fmt="%.17g")
    elif kind == "mat":
        scipy.io.savemat("k.mat", {"K": K})
    elif kind == "mat:K":
        scipy.io.savemat("k.mat", {"K": K, "text": "abc", "L": K + 1}, do_compression=True)
    elif kind == "mat of version 7.3":
        mat73("k.mat", K=K)
    elif kind == "safetensors:a.b":
        safetensors.numpy.save_file({"a.b": K, "c": K[0].copy()}, "k.safetensors")
    elif kind == "safetensors":
        safetensors.numpy.save_file({"c": K}, "k.safetensors")
    name, _, member = kind.partition(":")
    return f"k.{name.split()[0]}" + (f":{member}" if member else "")


KINDS = ["npz", "npz:K", "csv", "mat", "mat:K", "mat of version 7.3", "safetensors:a.b",
         "safetensors"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_every_kind(here, kind):
    assert np.array_equal(read_kernel(written(kind)), K)


@pytest.mark.parametrize("dtype", ["u1", "i8", "f4", "c16"])
def test_types_survive(here, dtype):
    values = (K * 9).astype(dtype)
    np.savez("k.npz", values)
    scipy.io.savemat("k.mat", {"k": values})
    safetensors.numpy.save_file({"k": values}, "k.safetensors") if dtype != "c16" else None
    for name in ("k.npz", "k.mat", *(["k.safetensors"] if dtype != "c16" else [])):
        found = read_kernel(name)
        assert found.dtype == dtype
        assert np.array_equal(found, values)


def test_complex_kernels_of_matlab_73(here):
    mat73("k.mat", K=K + 2j * K)
    assert np.array_equal(read_kernel("k.mat"), K + 2j * K)


def test_brain_floats_are_read_as_floats(here):
    halves = struct.pack("<4H", 0x3F80, 0xC000, 0x3E80, 0x0000)  # 1, -2, 0.25, 0
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}}).encode()
    (here / "k.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + halves)
    assert read_kernel("k.safetensors").tolist() == [[1, -2], [0.25, 0]]


def test_csv_as_spreadsheets_write_it(here):
    (here / "k.csv").write_bytes("\ufeff1, 2,3\r\n4,5,6e0\r\n".encode())
    assert read_kernel("k.csv").tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    "content",
    [
        b"0.5,-1\n2,3e2\n", b"0.5;-1\n2;3e2\n", b"0,5;-1\r\n2;3e2\r\n", b"0,5\t-1\n2\t3e2", b"0.5 -1\n 2  3e2\n",
        b'"0.5","-1"\n"2","3e2"\n', b"# a, b\n0.5,-1\n\n2,3e2", "0,5\t-1\r\n2\t300\r\n".encode("utf-16"),
        b"\xef\xbb\xbf0,5;-1\n2;300",
    ],
)  # fmt: skip
def test_csv_as_spreadsheets_of_every_language_write_it(here, content):
    (here / "k.csv").write_bytes(content)
    assert read_kernel("k.csv").tolist() == [[0.5, -1], [2, 300]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,b\n1,2\n", "'a' in line 1. Expected only numbers. Remove the line of names"),
        (b"1,x\n1,2\n", "'x' in line 1. Expected only numbers. Correct the line"),
        (b"1;2\n1;2;3\n", "2 columns, and 3 in line 2"),
        (b"1,2,\n3,4,\n", "nothing between two separators in line 1"),
        (b"1.000,5;2\n", "commas and points in its numbers"),
        (b"\n1,2\n3," + b"x" * 5000, "'xxxxxxxxxxxxxxxxxxxx' in line 3"),
        (b"caf\xe9,1\n", "not text in UTF-8"),
        (b"\n\n", "no numbers"),
        (b"", "k.csv cannot be read as .csv (it is empty)"),
    ],
)
def test_what_is_wrong_with_a_csv_file_is_told(here, refusal, content, words):
    (here / "k.csv").write_bytes(content)
    assert words in refusal("info", "k.csv", "--input", "5,6")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("k.npz", b"\x93NUMPY", "It begins like an array of NumPy: rename it to .npy"),
        ("k.npy", b"PK\x03\x04", "It begins like an archive of NumPy: rename it to .npz"),
        ("k.npy", b"\x89PNG\r\n\x1a\n", "It begins like a PNG picture: rename it to .png"),
        ("k.png", b"\xff\xd8\xff\xe0", "It begins like a JPEG picture: rename it to .jpg or .jpeg"),
        ("k.npy", b"\x89HDF\r\n\x1a\n", "It begins like an HDF5 file: rename it to .h5 or .hdf5 or .mat"),
        ("k.mat", b"\x89HDF\r\n\x1a\n", "Check it"),
        ("k.npy", b"words", "Check it"),
        ("k.safetensors", b"", "(it is empty)"),
    ],
)
def test_files_of_another_kind_are_named(here, refusal, name, content, words):
    (here / name).write_bytes(content and content.ljust(600, b"?"))
    assert words in refusal("info", name, "--input", "5,6")


def test_a_name_in_a_file_that_has_none(here, refusal):
    np.save("k.npy", K)
    assert "A .npy file has one array, and no names. Write k.npy" in refusal("info", "k.npy:K", "--input", "5,6")


@pytest.mark.parametrize("text", ["1,2,1", "1\n2\n1"])
def test_a_row_or_a_column_is_a_vector_on_one_axis(here, said, text):
    (here / "k.csv").write_text(text)
    said("matrix", "k.csv", "--input", "4", "-o", "W.npy")
    assert np.load("W.npy").tolist() == [[1, 2, 1, 0], [0, 1, 2, 1]]


def test_a_row_is_a_row_on_two_axes(here, facts):
    (here / "k.csv").write_text("1,2,1")
    assert facts("info", "k.csv", "--input", "4,4")["explanation"]["out_shape"] == [4, 2]


@pytest.mark.parametrize(
    ("mode", "values"),
    [("L", [[0, 51], [204, 255]]), ("I;16", [[0, 13107], [52428, 65535]]), ("F", [[0, 0.2], [0.8, 1]]),
     ("1", [[0, 255], [255, 0]]), ("LA", [[0, 51], [204, 255]])],
)  # fmt: skip
def test_pictures_are_grey_and_of_sum_one(here, mode, values):
    kinds = {"I;16": np.uint16, "F": np.float32}
    image = Image.fromarray(np.array(values, kinds.get(mode, np.uint8))).convert(mode)
    image.save("k.tif")
    wanted = np.array(values, float) / np.sum(values)
    np.testing.assert_allclose(read_kernel("k.tif"), wanted, atol=1e-7)


def test_pictures_in_colour_and_turned(here):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)
    grey = pixels @ [0.299, 0.587, 0.114]
    Image.fromarray(pixels).save("k.png")
    np.testing.assert_allclose(read_kernel("k.png"), grey / grey.sum(), rtol=1e-12)
    exif = Image.Exif()
    exif[0x0112] = 6  # a camera held upright: turn by 90 degrees clockwise
    Image.fromarray(pixels).save("turned.png", exif=exif)
    np.testing.assert_allclose(read_kernel("turned.png"), np.rot90(grey, -1) / grey.sum(), rtol=1e-12)


def test_which_of_several(here, refusal):
    np.savez("k.npz", a=K, b=K)
    assert "k.npz contains a, b. Expected one of them. Write k.npz:NAME" in refusal("info", "k.npz", "--input", "5,6")
    assert "c is not among them" in refusal("info", "k.npz:c", "--input", "5,6")


def test_what_has_no_suffix_of_ours(here, refusal):
    (here / "k.txt").write_text("1")
    assert "k.txt has the suffix '.txt'" in refusal("info", "k.txt", "--input", "5")
    assert "is a folder" in refusal("info", "/", "--input", "5")


@pytest.mark.parametrize("extra", ["h5py", "safetensors", "PIL"])
def test_libraries_that_are_missing_are_named_with_their_extra(here, refusal, monkeypatch, extra):
    name = {"h5py": "mat of version 7.3", "safetensors": "safetensors", "PIL": "png"}[extra]
    text = written(name)
    Image.fromarray(np.eye(3, dtype=np.uint8)).save("k.png")
    monkeypatch.setitem(__import__("sys").modules, extra, None)
    assert 'pip install "convmtx[files]"' in refusal("info", text, "--input", "5,6")


# Files that are not trusted


def zipped(name, content, claimed=None):
    """An archive with one compressed member that may lie about its size."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    data = file.getvalue()
    if claimed is not None:  # in both headers
        true = struct.pack("<I", len(content))
        data = data.replace(true, struct.pack("<I", claimed))
    return data


def header(shape, descr="<f8"):
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text


def mat5(*elements):
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + b"".join(elements)


def compress(data):
    packed = zlib.compress(data)
    return struct.pack("<II", 15, len(packed)) + packed


def numbers(shape, size):
    """A matrix of doubles by this shape, with so many bytes of zeros."""
    flags = struct.pack("<IIII", 6, 8, 6, 0)
    sizes = struct.pack("<IIII", 5, 8, *shape)
    name = struct.pack("<HH4s", 1, 1, b"K")
    body = flags + sizes + name + struct.pack("<II", 9, size) + bytes(size)
    return struct.pack("<II", 14, len(body)) + body


def tensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def png(width, height):
    """The start of a picture of these sizes, and no pixels."""
    sizes = struct.pack(">II5B", width, height, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + sizes
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + bytes(40)


HOSTILE = {
    "npz: empty": b"",
    "npz: truncated": zipped("K.npy", header((3, 2)) + bytes(48))[:-30],
    "npz: claims terabytes": zipped("K.npy", header((10**6, 10**6)) + bytes(48)),
    "npz: both claim gigabytes": zipped("K.npy", header((500_000_000,)) + bytes(1 << 20), 4_000_000_000),
    "npz: objects": zipped("K.npy", header((1,), "|O") + bytes(48)),
    "npz: no array": zipped("K.txt", b"1"),
    "npz: line breaks": zipped("a\nb\x1b[2J.npy", header((3,)) + bytes(4)),
    "csv: text": b"a,b\n",
    "csv: empty": b"",
    "csv: ragged": b"1,2\n3\n",
    "csv: not text": b"\xff\xfe1,2",
    "csv: zeros": bytes(1000),
    "mat: empty": b"",
    "mat: junk": b"junk" * 100,
    "mat: truncated": mat5(numbers((3, 2), 48))[:-20],
    "mat: claims more than is there": mat5(numbers((30000, 20000), 48)),
    "mat: claims terabytes": mat5(numbers((2**31 - 1, 2**31 - 1), 48)),
    "mat: compressed junk": mat5(struct.pack("<II", 15, 9) + b"x" * 9),
    "mat: says 7.3": b"MATLAB 7.3".ljust(124) + b"\0\2IM" + bytes(600),
    "mat: HDF5 in name": bytes(512) + b"\x89HDF\r\n\x1a\n" + bytes(100),
    "safetensors: empty": b"",
    "safetensors: header of terabytes": struct.pack("<Q", 1 << 42) + b"{}",
    "safetensors: beyond the end": tensors({"w": {"dtype": "F64", "shape": [9], "data_offsets": [0, 72]}}),
    "safetensors: not JSON": tensors(b"{" * 50),
    "safetensors: odd type": tensors({"w": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}, b"ab"),
    "png: empty": b"",
    "png: no pixels": png(3, 3),
    "png: a bomb": png(50_000, 50_000),
    "png: PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
    "tif: junk": b"II*\0" + bytes(30),
    "jpg: truncated": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_one_line(here, refusal, name):
    suffix = name.partition(":")[0]
    (here / f"bad.{suffix}").write_bytes(HOSTILE[name])
    told = refusal("matrix", f"bad.{suffix}", "--input", "5,6", "-o", "W.npz")
    assert f"bad.{suffix}" in told
    assert told[:-1].isprintable()
    assert os.listdir() == [f"bad.{suffix}"]


def test_a_compressed_bomb_of_matlab_is_not_inflated(here, refusal, monkeypatch):
    (here / "bad.mat").write_bytes(mat5(compress(numbers((3, 2), 1 << 22))))
    monkeypatch.setattr("convmtx.memory.available", lambda: 1 << 22)
    assert "grows to 4.19 MB" in refusal("info", "bad.mat", "--input", "5,6")


@pytest.mark.parametrize("kind", ["link", "external", "virtual", "text"])
def test_arrays_of_hdf5_that_lie_elsewhere(here, refusal, kind):
    np.save("other.npy", K)
    with h5py.File("data.h5", "w") as file:
        file["K"] = K
    with h5py.File("k.mat", "w") as file:
        if kind == "link":
            file["K"] = h5py.ExternalLink("data.h5", "K")
        elif kind == "external":
            file.create_dataset("K", (3, 2), "f8", external=[("other.npy", 0, 48)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((3, 2), "f8")
            layout[:] = h5py.VirtualSource("data.h5", "K", (3, 2))
            file.create_virtual_dataset("K", layout)
        else:
            file["K"] = "words"
    told = refusal("info", "k.mat", "--input", "5,6")
    assert {"link": "no array", "text": "contains", "external": "in other files", "virtual": "in other files"}[
        kind
    ] in told


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_bytes_never_get_past_the_door(here, capsys, kind):
    from convmtx.cli import main

    text = written(kind)
    path = here / text.partition(":")[0]
    whole = path.read_bytes()
    rng = np.random.default_rng(7)
    for _ in range(12 if kind == "mat of version 7.3" else 60):  # a process each
        content = bytearray(whole[: rng.integers(1, len(whole))] if rng.random() < 0.2 else whole)
        for at in rng.integers(0, len(content), rng.integers(1, 4)):
            content[at] = rng.integers(256)
        path.write_bytes(content)
        code = main(["matrix", text, "--input", "5,6", "-o", "W.npy"])
        assert (code, capsys.readouterr().err.count("\n")) in ((0, 0), (2, 1)), bytes(content)
