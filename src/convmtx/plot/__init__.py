"""Pictures of a map, and the numbers that each shows. They need matplotlib (extra ``plot``)."""

from convmtx.plot.costs import CostData, cost, cost_data
from convmtx.plot.kernels import KernelData, kernel, kernel_data
from convmtx.plot.matrices import MatrixData, matrix, matrix_data
from convmtx.plot.rows import RowData, row, row_data
from convmtx.plot.spectra import SpectrumData, spectrum, spectrum_data
from convmtx.plot.symbols import SymbolData, symbol, symbol_data

__all__ = [
    "CostData",
    "KernelData",
    "MatrixData",
    "RowData",
    "SpectrumData",
    "SymbolData",
    "cost",
    "cost_data",
    "kernel",
    "kernel_data",
    "matrix",
    "matrix_data",
    "row",
    "row_data",
    "spectrum",
    "spectrum_data",
    "symbol",
    "symbol_data",
]
