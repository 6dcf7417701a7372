"""Makes plain.npz, compressed.npz and fortran32.npz with NumPy."""
import pathlib
import numpy as np

here = pathlib.Path(__file__).parent
mu, sigma = np.array([1.0, 2, 3]), np.array([[4.0, 1, 0], [1, 5, 2], [0, 2, 6]])
np.savez(here / "plain.npz", mu=mu, sigma=sigma)
np.savez_compressed(here / "compressed.npz", mu=mu, sigma=sigma)
np.savez(here / "fortran32.npz", mu=mu.astype("f4"), sigma=np.asfortranarray(sigma.astype("f4")))
