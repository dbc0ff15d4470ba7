"""Encoders of images and sounds by pretrained networks of timm and torchaudio, for those who have these libraries.

Shape letters: B images, D width of the vectors.
"""

from collections.abc import Sequence

import numpy as np

from reprise.arrays import AnyArray, Float32Array
from reprise.content.encoders.media_files import Sound, image_library
from reprise.content.encoders.onnx_encoders import resampled
from reprise.content.encoders.optional_library import import_library
from reprise.errors import ConfigError, did_you_mean


class TimmImageEncoder:
    """An image encoder of the library timm, such as `resnet18`, without its classifier."""

    def __init__(self, model: str, pretrained: bool = True) -> None:
        """Load the network.

        Args:
            model: Name of the network in timm.
            pretrained: Whether to load pretrained weights, which timm downloads.

        Raises:
            ConfigError: timm is missing or does not know the network.
        """
        timm = import_library("timm", "TimmImageEncoder", "timm")
        self._torch = import_library("torch", "TimmImageEncoder", "torch")
        try:
            self._model = timm.create_model(model, pretrained=pretrained, num_classes=0).eval()
        except RuntimeError as error:
            raise ConfigError(f"timm cannot load the network {model!r}: {error}") from None
        self._transform = timm.data.create_transform(**timm.data.resolve_model_data_config(self._model))

    def __call__(self, images: Sequence[AnyArray]) -> Float32Array:
        """Return the vectors of images, [B, D], given as RGB arrays [H, W, 3], uint8."""
        pillow = image_library()
        batch = self._torch.stack([self._transform(pillow.fromarray(image)) for image in images])
        with self._torch.inference_mode():
            return np.asarray(self._model(batch).numpy(), np.float32)


class TorchaudioEncoder:
    """A sound encoder of torchaudio's pipelines, such as `WAV2VEC2_BASE`: the last layer, averaged over time."""

    def __init__(self, pipeline: str) -> None:
        """Load the network.

        Args:
            pipeline: Name of a bundle in `torchaudio.pipelines`.

        Raises:
            ConfigError: torchaudio is missing or does not know the bundle.
        """
        pipelines = import_library("torchaudio.pipelines", "TorchaudioEncoder", "torchaudio")
        self._torch = import_library("torch", "TorchaudioEncoder", "torch")
        bundle = getattr(pipelines, pipeline, None)
        if bundle is None:
            known = [name for name in dir(pipelines) if name.isupper()]
            raise ConfigError(f"torchaudio has no pipeline {pipeline!r}{did_you_mean(pipeline, known)}")
        self._sample_rate = int(bundle.sample_rate)
        self._model = bundle.get_model().eval()

    def __call__(self, sounds: Sequence[Sound]) -> Float32Array:
        """Return the vectors of sounds, [B, D]."""
        vectors = []
        with self._torch.inference_mode():
            for sound in sounds:
                samples = self._torch.from_numpy(resampled(sound, self._sample_rate))[None, :]
                layers, _ = self._model.extract_features(samples)
                vectors.append(np.asarray(layers[-1].mean(dim=1).numpy(), np.float32))
        return np.concatenate(vectors)
