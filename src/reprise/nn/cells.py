"""placeholder while the seam is cut"""
from torch import Tensor
State = dict[str, Tensor]
