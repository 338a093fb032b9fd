"""Makes train-00000-of-00001.parquet from the JPEG files in ../pil.

    pip install pyarrow==26.0.1
    python make.py

Written by pyarrow as Hugging Face's `datasets` does: a column `image` of
`bytes` and `path`, a column `label`, the class names in the metadata, Snappy.
"""

import json
from pathlib import Path

import pyarrow
from pyarrow import parquet

HERE = Path(__file__).parent
NAMES = ["grey", "444", "422", "420"]


def main():
    files = [HERE.parent / "pil" / f"{name}.jpg" for name in NAMES]
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    # An image that is not there, and one that has no label.
    images = [*images, None, images[0]]
    labels = [0, 1, 2, 3, 2, -1]
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    schema = pyarrow.schema([("image", image), ("label", pyarrow.int64())])
    features = {
        "image": {"_type": "Image"},
        "label": {"names": NAMES, "_type": "ClassLabel"},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pyarrow.table({"image": images, "label": labels}, schema=schema)
    table = table.replace_schema_metadata(metadata)
    parquet.write_table(
        table, HERE / "train-00000-of-00001.parquet", compression="snappy", row_group_size=4
    )


if __name__ == "__main__":
    main()
