"""Encoders of images and sounds that are ONNX files, run by ONNX Runtime.

Shape letters: B images, S side of an image, N samples, D width of the vectors.
"""

from collections.abc import Sequence
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from reprise.arrays import AnyArray, Float32Array
from reprise.content.encoders.media_files import Sound, image_library
from reprise.errors import ConfigError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of the colours of ImageNet, with which many image encoders were trained."""


class OnnxFile:
    """An ONNX file with one input. Its content ships with a saved model."""

    def __init__(self, path: str | bytes) -> None:
        """Open the file `path`, or its content if `path` is bytes.

        Raises:
            ConfigError: The file cannot be read, is not a valid ONNX file, or has several inputs.
        """
        name = "the encoder" if isinstance(path, bytes) else f"the encoder {path}"
        try:
            self.content = path if isinstance(path, bytes) else Path(path).read_bytes()
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            self._session: Any = onnxruntime.InferenceSession(
                self.content, options, providers=["CPUExecutionProvider"]
            )
        except OSError as error:
            raise ConfigError(f"cannot read {name}: {error.strerror or error}") from None
        except Exception as error:  # ONNX Runtime has its own errors
            raise ConfigError(f"{name} is not a valid ONNX file: {error}") from None
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ConfigError(f"{name} must have one input, got {[one.name for one in inputs]}")
        self._input = inputs[0].name
        batch = inputs[0].shape[0] if inputs[0].shape else None
        self.batch = batch if isinstance(batch, int) else None
        """Number of rows that the input must have; None: any."""
        self._name = name

    def run(self, array: AnyArray) -> Float32Array:
        """Return the first output for an input [B, ...] as vectors, [B, D]; further axes are averaged.

        Of an output [B, D, H, W] the last two axes are averaged, of an output [B, T, D] the middle one.

        Raises:
            ConfigError: The network does not accept the input.
        """
        try:
            output = np.asarray(self._session.run(None, {self._input: array})[0], np.float32)
        except Exception as error:
            raise ConfigError(f"{self._name} does not accept an input {list(array.shape)}: {error}") from None
        if output.ndim == 4:
            output = output.mean(axis=(2, 3))
        return output.mean(axis=1) if output.ndim == 3 else output


class OnnxImageEncoder:
    """An image encoder in an ONNX file: input float32 [B, 3, S, S], output [B, D] or [B, D, H, W].

    An image is resized so that its shorter side is S, cut to its middle, divided by 255 and standardised.
    """

    def __init__(
        self,
        path: str | bytes,
        size: int = 224,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        """Open the encoder.

        Args:
            path: The ONNX file, or its content.
            size: Side of the images in pixels, S.
            mean: Mean of red, green and blue, between 0 and 1.
            std: Standard deviation of red, green and blue.

        Raises:
            ConfigError: The file cannot be used, or an argument is wrong.
        """
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0 or size < 1:
            raise ConfigError(
                f"size must be positive, mean and std must have three numbers, got {size}, {mean} and {std}"
            )
        self._file = OnnxFile(path)
        self._size = size
        self._mean = np.asarray(mean, np.float32)
        self._std = np.asarray(std, np.float32)

    def stored_options(self) -> dict[str, bytes]:
        """Return the content of the ONNX file, which ships with a saved model."""
        return {"path": self._file.content}

    def __call__(self, images: Sequence[AnyArray]) -> Float32Array:
        """Return the vectors of images, [B, D], given as RGB arrays [H, W, 3], uint8."""
        pixel_BSS3 = np.stack([square_image(image, self._size) for image in images])
        scaled_BSS3 = (pixel_BSS3.astype(np.float32) / 255 - self._mean) / self._std
        input_B3SS = np.ascontiguousarray(scaled_BSS3.transpose(0, 3, 1, 2))
        if self._file.batch is None:
            return self._file.run(input_B3SS)
        return np.concatenate([self._file.run(one) for one in np.split(input_B3SS, len(images))])


def square_image(image: AnyArray, size: int) -> AnyArray:
    """Return the middle of an image as a square, [S, S, 3], resized so that its shorter side has `size` pixels."""
    pillow = image_library()
    height, width = image.shape[:2]
    scale = size / min(height, width)
    shape = (max(size, round(width * scale)), max(size, round(height * scale)))
    resized = np.asarray(pillow.fromarray(image).resize(shape, pillow.Resampling.BICUBIC))
    top, left = (resized.shape[0] - size) // 2, (resized.shape[1] - size) // 2
    return resized[top : top + size, left : left + size]


class OnnxAudioEncoder:
    """A sound encoder in an ONNX file: input float32 [1, N] at a fixed sample rate, output [1, D] or [1, T, D]."""

    def __init__(self, path: str | bytes, sample_rate: int = 16_000) -> None:
        """Open the encoder.

        Args:
            path: The ONNX file, or its content.
            sample_rate: Samples per second that the network expects; sounds are resampled.

        Raises:
            ConfigError: The file cannot be used, or an argument is wrong.
        """
        if sample_rate < 1:
            raise ConfigError(f"sample_rate must be positive, got {sample_rate}")
        self._file = OnnxFile(path)
        self._sample_rate = sample_rate

    def stored_options(self) -> dict[str, bytes]:
        """Return the content of the ONNX file, which ships with a saved model."""
        return {"path": self._file.content}

    def __call__(self, sounds: Sequence[Sound]) -> Float32Array:
        """Return the vectors of sounds, [B, D]. They differ in length, so each is one call of the network."""
        return np.concatenate(
            [self._file.run(resampled(sound, self._sample_rate)[None, :]) for sound in sounds]
        )


def resampled(sound: Sound, sample_rate: int) -> Float32Array:
    """Return the samples of a sound at another sample rate, [N] (polyphase filter of SciPy)."""
    if sound.sample_rate == sample_rate:
        return sound.sample_N
    from scipy.signal import resample_poly

    divisor = gcd(sound.sample_rate, sample_rate)
    found = resample_poly(sound.sample_N, sample_rate // divisor, sound.sample_rate // divisor)
    return np.asarray(found, np.float32)
