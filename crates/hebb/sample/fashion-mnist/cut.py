"""Cuts the sample from the files of the Debian package dataset-fashion-mnist.

    apt-get install dataset-fashion-mnist
    pip install zopfli
    python3 cut.py /usr/share/datasets/fashion-mnist .

The first 800 training and the first 200 test images of each of the ten
classes, in their official order, as gzipped IDX files of the usual names.
"""

import gzip
import struct
import sys
from pathlib import Path

import zopfli.gzip


def read(path, dims):
    data = gzip.decompress(path.read_bytes())
    assert data[:4] == bytes([0, 0, 8, dims]), path
    shape = struct.unpack(f">{dims}I", data[4 : 4 + 4 * dims])
    return shape, data[4 + 4 * dims :]


def write(path, shape, data):
    header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    path.write_bytes(zopfli.gzip.compress(header + data, numiterations=15))


def cut(source, target, part, each):
    (count, height, width), images = read(source / f"{part}-images-idx3-ubyte.gz", 3)
    _, labels = read(source / f"{part}-labels-idx1-ubyte.gz", 1)
    taken = [0] * 10
    keep = []
    for i in range(count):
        if taken[labels[i]] < each:
            taken[labels[i]] += 1
            keep.append(i)
    assert taken == [each] * 10
    size = height * width
    pixels = b"".join(images[i * size : (i + 1) * size] for i in keep)
    write(target / f"{part}-images-idx3-ubyte.gz", (len(keep), height, width), pixels)
    write(target / f"{part}-labels-idx1-ubyte.gz", (len(keep),), bytes(labels[i] for i in keep))


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    cut(source, target, "train", 800)
    cut(source, target, "t10k", 200)
