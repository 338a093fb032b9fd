"""Makes the images beside this script, and what PIL makes of them.

    pip install pillow==13.0.0 numpy==2.4.6
    python make.py

scene.png is drawn here. JPEG files of it are encoded by Pillow's libjpeg-turbo,
with the four layouts of colour that cameras and programs write. For each of
them `NAME.decoded.png` is PIL's decoding of it, pixel by pixel. Files
`NAME.SIDE.png` are the published pipeline: `Resize` of the shorter side with
PIL's antialiased bilinear filter, `CenterCrop`; for JPEG files after `draft`,
which decodes at 1/2, 1/4 or 1/8 of the scale where that still covers the side.
"""

from pathlib import Path

import numpy
from PIL import Image

HERE = Path(__file__).parent
WIDTH, HEIGHT = 236, 157


def scene():
    """Smooth colours, sharp edges, fine stripes and a little noise."""
    y, x = numpy.mgrid[0:HEIGHT, 0:WIDTH].astype(float)
    red = 128 + 110 * numpy.sin(x / 17) * numpy.cos(y / 23)
    green = 255 * x / WIDTH
    blue = 128 + 120 * numpy.cos((x + 2 * y) / 31)
    image = numpy.stack([red, green, blue], axis=2)
    image[(x - 70) ** 2 + (y - 80) ** 2 < 40**2] = (230, 30, 40)
    image[20:60, 150:220] = (20, 40, 220)
    stripes = (x > 140) & (y > 90) & (x.astype(int) // 2 % 2 == 0)
    image[stripes] = (250, 240, 60)
    noise = numpy.random.default_rng(7).integers(-6, 7, (HEIGHT // 4 + 1, WIDTH // 4 + 1, 3))
    image += numpy.kron(noise, numpy.ones((4, 4, 1)))[:HEIGHT, :WIDTH]
    return Image.fromarray(image.clip(0, 255).astype(numpy.uint8))


def cover(image, side):
    width, height = image.size
    short = min(width, height)
    if short != side:
        size = (width * side // short, height * side // short)
        image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (round((length - side) / 2) for length in image.size)
    return image.crop((left, top, left + side, top + side))


def main():
    png = scene()
    png.save(HERE / "scene.png", optimize=True)
    for side in (20, 32, 64, 210):
        cover(png, side).save(HERE / f"scene.{side}.png", optimize=True)
    layouts = {
        "grey": (png.convert("L"), {}),
        "444": (png, {"subsampling": 0}),
        "422": (png, {"subsampling": 1}),
        "420": (png, {"subsampling": 2}),
        "420-progressive": (png, {"subsampling": 2, "progressive": True}),
    }
    for name, (image, options) in layouts.items():
        file = HERE / f"{name}.jpg"
        image.save(file, quality=85, **options)
        with Image.open(file) as jpeg:
            jpeg.convert("RGB").save(HERE / f"{name}.decoded.png", optimize=True)
        for side in (20, 32, 64):
            with Image.open(file) as jpeg:
                jpeg.draft(None, (side, side))
                cover(jpeg.convert("RGB"), side).save(HERE / f"{name}.{side}.png", optimize=True)


if __name__ == "__main__":
    main()
