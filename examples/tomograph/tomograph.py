"""A small tomograph: the line integrals of a picture at a few angles, and the matrix that takes them.

    python3 examples/tomograph/tomograph.py examples/faces/01.png out/ct
    bin/cmi-native restore out/ct/y.npy --measured --operator out/ct/A.npz --sigma-y 0.02 --out out/ct

Needs NumPy, and Pillow to read the picture. A has a row for each ray and a column for each pixel; it acts on each
colour channel of a picture on [-1, 1]. y has the shape [3, rays].
"""
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIZE, ANGLES, SIGMA = 64, 24, 0.02


def rays(size: int, angles: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Returns row, column and value of the parallel-beam matrix: a pixel's share goes to the two nearest detectors."""
    detectors = int(np.ceil(size * np.sqrt(2))) + 1
    y, x = np.divmod(np.arange(size * size), size)
    y, x = y - (size - 1) / 2, x - (size - 1) / 2
    row, column, value = [], [], []
    for k in range(angles):
        angle = np.pi * k / angles
        place = x * np.cos(angle) + y * np.sin(angle) + (detectors - 1) / 2
        left = np.floor(place).astype(int)
        for at, share in ((left, 1 - (place - left)), (left + 1, place - left)):
            row.append(k * detectors + at)
            column.append(np.arange(size * size))
            value.append(share / size)  # the mean along the ray, so that y is on the picture's scale
    return np.concatenate(row), np.concatenate(column), np.concatenate(value), angles * detectors


def main(picture: str, folder: str) -> None:
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    row, column, value, count = rays(SIZE, ANGLES)
    # What scipy.sparse.save_npz writes for a matrix in coordinates.
    np.savez_compressed(out / "A.npz", format=np.array(b"coo"), shape=np.array([count, SIZE * SIZE]), row=row, col=column, data=value)
    image = np.asarray(Image.open(picture).convert("RGB").resize((SIZE, SIZE))) / 127.5 - 1
    channels = image.transpose(2, 0, 1).reshape(3, -1)
    y = np.zeros((3, count))
    for c in range(3):
        np.add.at(y[c], row, value * channels[c, column])
    measured = np.bincount(row, weights=value, minlength=count) > 0
    y += SIGMA * np.random.default_rng(1).standard_normal(y.shape) * measured
    np.save(out / "y.npy", y.astype(np.float32))
    print(f"{count} rays of {SIZE * SIZE} pixels: {out / 'y.npy'}, {out / 'A.npz'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
