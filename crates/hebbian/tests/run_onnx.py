"""Runs an exported model as others would. Arguments: the ONNX file, a file of the
images' bytes, and a folder, which gets NAME.f32 of every output.

The file is checked against the format's rules first, shapes of all values too.
What ONNX's reference gives must be what its runtime gives.
"""

import json
import sys

import numpy
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

path, images, out = sys.argv[1:]
model = onnx.load(path)
onnx.checker.check_model(model, full_check=True)
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
(taken,) = session.get_inputs()
images = numpy.fromfile(images, numpy.uint8).reshape(-1, *taken.shape[1:])
names = [output.name for output in session.get_outputs()]
found = session.run(names, {taken.name: images})
reference = ReferenceEvaluator(model).run(names, {taken.name: images})
for name, values, other, output in zip(names, found, reference, session.get_outputs()):
    assert values.dtype == numpy.float32 and list(values.shape[1:]) == output.shape[1:], name
    if "binary" not in output.name:
        numpy.testing.assert_allclose(values, other, rtol=1e-3, atol=1e-4 * abs(values).max())
    values.tofile(f"{out}/{name}.f32")
json.dump(dict(session.get_modelmeta().custom_metadata_map), sys.stdout)
