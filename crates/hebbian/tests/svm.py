"""Makes svm.safetensors: weights that scikit-learn's LinearSVC finds on a small
problem whose classes overlap. Needs scikit-learn, numpy and safetensors:

    python3 svm.py svm.safetensors
"""

import sys

import numpy as np
from safetensors.numpy import save_file
from sklearn.svm import LinearSVC

ROWS, DIM, CLASSES = 90, 13, 3

rng = np.random.default_rng(5)
labels = rng.integers(0, CLASSES, ROWS)
centres = rng.normal(size=(CLASSES, DIM))
x = (0.6 * centres[labels] + rng.normal(size=(ROWS, DIM))).astype(np.float32)
tensors = {"x": x, "labels": labels.astype(np.float32)}
for name, penalty in [("one", 1.0), ("small", 0.03)]:
    machine = LinearSVC(C=penalty, loss="squared_hinge", dual=True, tol=1e-10, max_iter=10_000_000)
    machine.fit(x.astype(np.float64), labels)
    # safetensors writes memory as it lies, and these lie by column.
    tensors[f"{name}.weights"] = np.ascontiguousarray(machine.coef_, dtype=np.float32)
    tensors[f"{name}.bias"] = machine.intercept_.astype(np.float32)
save_file(tensors, sys.argv[1])
