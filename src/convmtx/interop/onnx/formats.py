"""Files of other formats than ONNX, known by their first bytes. Nothing else of them is read."""

from __future__ import annotations

from pathlib import Path

from convmtx.errors import ModelFileError

_TFLITE = ("TensorFlow Lite model", "Convert it to ONNX, as with tf2onnx")
_ORT = ("model in the format of onnxruntime", "Pass the ONNX file that it was made from")
_TORCH = ("file of PyTorch", "Load it with torch, and pass the module to cm.from_torch")
_KERAS = ("model of Keras", "Load it with keras.models.load_model, and pass it to cm.from_keras")
_TENSORS = ("file of tensors without a graph (safetensors)", "Load them into a module, and pass that to cm.from_torch")
_NUMPY = ("file of NumPy arrays", "Load it with numpy.load, and pass the kernel to cm.conv")
_GGUF = ("file of tensors without a graph (GGUF)", "Pass an ONNX model")
_LFS = ("pointer of Git LFS to a file", "Fetch that file, as with git lfs pull")
_PAGE = ("web page", "Download the file itself")
_GZIP = ("compressed file", "Decompress it first, as with gunzip")
_ZIP = ("zip archive", "Unpack it first")
#: Formats by the bytes at a place in the file.
_MAGIC = [
    (4, b"TFL3", _TFLITE),
    (4, b"ORTM", _ORT),
    (0, b"\x89HDF\r\n\x1a\n", _KERAS),
    (0, b"\x93NUMPY", _NUMPY),
    (0, b"GGUF", _GGUF),
    (0, b"\x1f\x8b", _GZIP),
    (0, b"version https://git-lfs", _LFS),
    (0, b"<!DOCTYPE html", _PAGE),
    (0, b"<!doctype html", _PAGE),
    (0, b"<html", _PAGE),
    (0, b"\x80\x02", _TORCH),  # a pickle, as torch.save wrote before 1.6
]
#: Formats of zip archives by the end of the name of the first file in them.
_ARCHIVES = [
    ("data.pkl", _TORCH),
    ("data/0", _TORCH),
    ("/version", _TORCH),
    ("constants.pkl", _TORCH),
    (".json", _KERAS),
    (".h5", _KERAS),
    (".npy", _NUMPY),
]
#: Bytes that are read.
_READ = 512


def refuse_other_formats(path: Path) -> None:
    """Refuse a file that its first bytes show to be of another format, by its name and what reads it."""
    with path.open("rb") as file:
        head = file.read(_READ)
    format_ = next((name for at, magic, name in _MAGIC if head[at : at + len(magic)] == magic), None)
    if head[:4] == b"PK\x03\x04":
        first = head[30 : 30 + int.from_bytes(head[26:28], "little")].decode("latin-1")
        format_ = next((name for end, name in _ARCHIVES if first.endswith(end)), _ZIP)
    # A header of JSON behind its length: an ONNX file begins with the field of a small integer, a byte of 8.
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= path.stat().st_size - 8:
        format_ = _TENSORS
    if format_ is not None:
        what, remedy = format_
        raise ModelFileError(f"{path} is a {what}", "from_onnx reads ONNX models", remedy)
