"""Image files to batches by PyTorch's DataLoader, decoded by PIL or by PyTurboJPEG.

Reads every image of a folder in the order of the names: decoded to RGB,
shorter side scaled to the wanted one, centre cut out, as floats normalised by
channel. PyTurboJPEG decodes at 1/2, 1/4 or 1/8 of the scale where that still covers the wanted
side, and PIL scales on. One JSON object on standard output: versions, seconds of each pass.

    python loader.py --folder images --side 32 --mean 0.49 0.48 0.45 --std 0.25 0.24 0.26 \
        --outputs first.safetensors --runs 5 --threads 2 --decoder turbojpeg
"""

import argparse
import importlib.metadata
import json
import time
from pathlib import Path

import numpy
import PIL
import torch
import turbojpeg
from PIL import Image
from safetensors.torch import save_file
from torch.utils.data import DataLoader, Dataset


class Files(Dataset):
    """Pixels, height x width x 3. They stay bytes until a batch is together:
    a quarter of the memory to hand from process to process."""

    def __init__(self, folder, side, decode):
        self.paths = sorted(path for path in Path(folder).iterdir() if path.is_file())
        self.side = side
        self.decode = decode

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        image = self.decode(self.paths[index], self.side)
        side, (width, height) = self.side, image.size
        if (width, height) != (side, side):
            short = min(width, height)
            if short != side:
                image = image.resize(
                    (width * side // short, height * side // short), Image.Resampling.BILINEAR
                )
            left, top = (round((length - side) / 2) for length in image.size)
            image = image.crop((left, top, left + side, top + side))
        return torch.from_numpy(numpy.array(image))


def by_pil(path, side):
    with Image.open(path) as file:
        return file.convert("RGB")


class ByTurboJpeg:
    """One library a process: its handles can't be sent to another."""

    jpeg = None

    def __call__(self, path, side):
        if self.jpeg is None:
            self.jpeg = turbojpeg.TurboJPEG()
        data = path.read_bytes()
        width, height, *_ = self.jpeg.decode_header(data)
        least = min(width, height) // side
        scale = next((scale for scale in (8, 4, 2) if least >= scale), 1)
        pixels = self.jpeg.decode(data, turbojpeg.TJPF_RGB, (1, scale))
        return Image.fromarray(pixels)


class Normalise:
    """Bytes, batch x height x width x 3, to floats, batch x 3 x height x width
    (channels last in memory, as they are)."""

    def __init__(self, mean, std):
        mean, std = torch.tensor(mean), torch.tensor(std)
        self.scale, self.shift = 1 / (255 * std), -mean / std

    def __call__(self, pixels):
        x = pixels.float().mul_(self.scale).add_(self.shift)
        return x.permute(0, 3, 1, 2)


def options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", required=True)
    parser.add_argument("--side", type=int, required=True, help="height and width of a batch")
    parser.add_argument("--mean", type=float, nargs=3, required=True)
    parser.add_argument("--std", type=float, nargs=3, required=True)
    parser.add_argument("--outputs", required=True, help="safetensors file for the first batch")
    parser.add_argument("--decoder", choices=["pil", "turbojpeg"], default="pil")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="processes that decode")
    return parser.parse_args()


def main():
    given = options()
    torch.set_num_threads(given.threads)
    normalise = Normalise(given.mean, given.std)
    loader = DataLoader(
        Files(given.folder, given.side, by_pil if given.decoder == "pil" else ByTurboJpeg()),
        batch_size=given.batch,
        num_workers=given.threads,
        persistent_workers=True,
        prefetch_factor=4,
    )
    seconds = []
    # The first pass warms up: it starts the processes and reads the files.
    for run in range(given.runs + 1):
        start = time.perf_counter()
        first = None
        for pixels in loader:
            x = normalise(pixels)
            first = x if first is None else first
        if run > 0:
            seconds.append(time.perf_counter() - start)
    save_file({"x": first.permute(0, 2, 3, 1).contiguous()}, given.outputs)
    versions = {"torch": torch.__version__, "pillow": PIL.__version__}
    if given.decoder == "turbojpeg":
        versions["PyTurboJPEG"] = importlib.metadata.version("PyTurboJPEG")
    timing = {"runs": seconds, "peak_mib": None, "before_mib": None}
    print(json.dumps({"versions": versions, "timing": timing}))


if __name__ == "__main__":
    main()
