"""Decoding of image files by Pillow and of sound files by soundfile.

Shape letters: H height, W width, N samples.
"""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reprise.arrays import AnyArray, Float32Array
from reprise.content.encoders.optional_library import import_library


class Sound(NamedTuple):
    """A decoded sound."""

    sample_N: Float32Array
    """Samples between -1 and 1, the mean of all channels."""
    sample_rate: int
    """Samples per second."""


def resolve_path(root: Path, name: str) -> Path:
    """Return the path of a file in a directory.

    Raises:
        ValueError: The path leaves the directory.
    """
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError("outside of the root directory")
    return path


def read_image(path: Path) -> AnyArray:
    """Return the pixels of an image as RGB, [H, W, 3], uint8. Transparent parts become white.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not an image, or a very large one.
    """
    pillow = image_library()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow warns before it decodes a very large image
        try:
            with pillow.open(path) as image:
                image.load()
                if "A" in image.getbands() or "transparency" in image.info:
                    whole = image.convert("RGBA")
                    white = pillow.new("RGBA", whole.size, (255, 255, 255, 255))
                    image = pillow.alpha_composite(white, whole)
                return np.asarray(image.convert("RGB"))
        except OSError:
            raise
        except Exception as error:  # the decoders of a library raise anything for a broken file
            raise ValueError(f"not a readable image ({error})") from None


def read_sound(path: Path, seconds: float) -> Sound:
    """Return the first `seconds` of a sound file, mixed to one channel.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is not a sound file, or has no samples.
    """
    library = sound_library()
    try:
        with path.open("rb") as file, library.SoundFile(file) as sound:
            samples = sound.read(round(seconds * sound.samplerate), dtype="float32", always_2d=True)
            rate = int(sound.samplerate)
    except OSError:
        raise
    except Exception as error:  # as for images
        raise ValueError(f"not a readable sound ({getattr(error, 'error_string', error)})") from None
    sample_N = samples.mean(axis=1)
    if not len(sample_N) or not np.isfinite(sample_N).all():
        raise ValueError("no samples, or samples that are not finite")
    return Sound(sample_N, rate)


def image_library() -> Any:
    """Return the module of Pillow that opens images.

    Raises:
        ConfigError: Pillow is not installed.
    """
    return import_library("PIL.Image", "a column of images", "reprise[images]")


def sound_library() -> Any:
    """Return the module soundfile.

    Raises:
        ConfigError: It is not installed.
    """
    return import_library("soundfile", "a column of sounds", "reprise[audio]")
