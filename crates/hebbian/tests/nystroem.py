"""Makes nystroem.safetensors: inner products after scikit-learn's Nystroem map
with its default RBF kernel. Needs scikit-learn, numpy and safetensors:

    python3 nystroem.py nystroem.safetensors
"""

import sys

import numpy as np
from safetensors.numpy import save_file
from sklearn.kernel_approximation import Nystroem

x = np.random.default_rng(3).normal(size=(50, 11)).astype(np.float32)
found = Nystroem(n_components=20, random_state=0).fit(x.astype(np.float64))
z = found.transform(x.astype(np.float64))
basis = x[found.component_indices_]
save_file({"x": x, "basis": basis, "products": (z @ z.T).astype(np.float32)}, sys.argv[1])
