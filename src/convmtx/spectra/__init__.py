"""What linear algebra asks of a map: singular values, norms and bounds, and what else its spectrum tells."""

from convmtx.spectra.certified import Certified
from convmtx.spectra.norm import norm, norm_bound, sup_norm
from convmtx.spectra.values import SingularTensors, svd, svdvals

__all__ = ["Certified", "SingularTensors", "norm", "norm_bound", "sup_norm", "svd", "svdvals"]
