"""Images and sounds: ONNX encoders, unreadable files, paths that leave the root, and missing libraries."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import soundfile
import torch
from item_shops import shop
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as Picture

from reprise.content import (
    Audio,
    FittedContent,
    Image,
    OnnxAudioEncoder,
    OnnxImageEncoder,
    Sound,
    Text,
    fit_content,
)
from reprise.content.encoders.onnx_encoders import resampled, square_image
from reprise.content.encoders.sentence_encoder import SentenceEncoder
from reprise.content.encoders.torch_encoders import TimmImageEncoder, TorchaudioEncoder
from reprise.data import SequenceDataset
from reprise.errors import ConfigError, DataError

FILTERS = 6


def write_network(path: Path, nodes: list, weights: np.ndarray, shape: list, rank: int) -> Path:
    """Write a network with random filters, whose output is a feature map."""
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [
            numpy_helper.from_array(weights.astype(np.float32), "w"),
            numpy_helper.from_array(np.array([1]), "axis"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def image_network(path: Path, batch: int | None = None) -> Path:
    weights = np.random.default_rng(0).normal(size=(FILTERS, 3, 3, 3))
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])]
    return write_network(path, nodes, weights, [batch, 3, None, None], 4)


def sound_network(path: Path) -> Path:
    weights = np.random.default_rng(0).normal(size=(FILTERS, 1, 80))
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axis"], ["u"]),
        helper.make_node("Conv", ["u", "w"], ["c"], strides=[37]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Transpose", ["r"], ["y"], perm=[0, 2, 1]),
    ]
    return write_network(path, nodes, weights, [1, None], 3)


@pytest.fixture
def pictures(tmp_path: Path) -> SequenceDataset:
    """A shop of red and blue pictures, in files of several formats and sizes; one item has none."""
    names = []
    for row in range(8):
        colour = (200 + row, 10, 10) if row % 2 else (10, 10, 200 + row)
        names.append(f"p{row}.{('png', 'jpg', 'webp', 'gif')[row % 4]}")
        Picture.new("RGB", (20 + row, 30 - row), colour).save(tmp_path / names[-1])
    return shop(photo=[*names, None])


@pytest.fixture
def sounds(tmp_path: Path) -> SequenceDataset:
    """A shop of tones of two pitches at several sample rates, in one or two channels."""
    names = []
    for row in range(8):
        rate = (8000, 16000, 44100, 16000)[row % 4]
        time_s = np.arange(rate // 4) / rate
        tone = 0.5 * np.sin(2 * np.pi * (400 if row < 4 else 1600) * time_s + row)
        names.append(f"s{row}.{('wav', 'flac')[row % 2]}")
        soundfile.write(tmp_path / names[-1], np.stack([tone, tone], axis=1) if row % 3 else tone, rate)
    return shop(clip=names)


def image_spec(folder: Path, **changed: object) -> Image:
    options = {"path": str(image_network(folder / "images.onnx")), "size": 16}
    fields = {
        "encoder": "reprise.content:OnnxImageEncoder",
        "root": str(folder),
        "options": options,
        **changed,
    }
    return Image("photo", **fields)  # type: ignore[arg-type]


def audio_spec(folder: Path, **changed: object) -> Audio:
    options = {"path": str(sound_network(folder / "sounds.onnx")), "sample_rate": 8000}
    fields = {
        "encoder": "reprise.content:OnnxAudioEncoder",
        "root": str(folder),
        "options": options,
        **changed,
    }
    return Audio("clip", **fields)  # type: ignore[arg-type]


def restored(content: FittedContent) -> FittedContent:
    return FittedContent.restore(json.loads(json.dumps(content.to_json())), content.to_tensors())


def test_pictures_of_one_colour_are_similar(pictures: SequenceDataset, tmp_path: Path) -> None:
    content = fit_content([image_spec(tmp_path)], pictures)
    found = content.encode(pictures.table)
    assert content.width == FILTERS and not found[8].any()
    similar = found[:8] @ found[:8].T
    assert similar[1, 3] > 0.99 and similar[0, 2] > 0.99 and similar[0, 1] < 0.9


def test_tones_of_one_pitch_are_similar(sounds: SequenceDataset, tmp_path: Path) -> None:
    found = fit_content([audio_spec(tmp_path)], sounds).encode(sounds.table)
    similar = found @ found.T
    assert similar[:4, :4].min() > similar[:4, 4:].max() and similar[4:, 4:].min() > similar[:4, 4:].max()


def test_a_saved_model_holds_the_network_itself(
    pictures: SequenceDataset, sounds: SequenceDataset, tmp_path: Path
) -> None:
    for spec, dataset in ((image_spec(tmp_path), pictures), (audio_spec(tmp_path), sounds)):
        content = fit_content([spec], dataset)
        expected = content.encode(dataset.table)
        Path(spec.options["path"]).unlink()
        again = restored(content)
        assert again.encode(dataset.table).tolist() == expected.tolist()
        assert again.encode_values(dataset.table.slice(0, 1).to_pylist()) == pytest.approx(
            expected[:1], abs=1e-6
        )


def test_a_network_for_single_images_is_called_for_each(pictures: SequenceDataset, tmp_path: Path) -> None:
    several = fit_content([image_spec(tmp_path)], pictures).encode(pictures.table)
    options = {"path": str(image_network(tmp_path / "single.onnx", batch=1)), "size": 16}
    single = fit_content([image_spec(tmp_path, options=options)], pictures).encode(pictures.table)
    assert single == pytest.approx(several, abs=1e-6)


def many_pictures(folder: Path, broken: int) -> SequenceDataset:
    names = [f"{row}.png" for row in range(40)]
    for row, name in enumerate(names):
        Picture.new("RGB", (8, 8), (row, 100, 200)).save(folder / name)
    for name in names[:broken]:
        (folder / name).write_bytes(b"not a picture")
    return shop(photo=names)


def test_few_unreadable_files_are_named_and_count_as_missing(tmp_path: Path) -> None:
    dataset = many_pictures(tmp_path, broken=2)
    with pytest.warns(
        UserWarning,
        match=r"column 'photo': 2 of 40 files .* cannot be read: 0.png \(cannot identify.*, 1.png",
    ):
        content = fit_content([image_spec(tmp_path)], dataset)
    with pytest.warns(UserWarning, match="2 of 40 files"):
        described = content.is_described(content.encode(dataset.table))
    assert described.tolist() == [False] * 2 + [True] * 38


def test_many_unreadable_files_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"3 of 40 files .* more than 5% is an error: check root"):
        fit_content([image_spec(tmp_path)], many_pictures(tmp_path, broken=3))
    with pytest.raises(DataError, match=r"8 of 8 files .*p0.png \(No such file or directory\).* and 5 more"):
        fit_content(
            [image_spec(tmp_path, root=str(tmp_path / "elsewhere"))],
            shop(photo=[f"p{row}.png" for row in range(8)]),
        )


def test_a_path_may_not_leave_the_root(pictures: SequenceDataset, tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    content = fit_content([image_spec(tmp_path)], pictures)
    for path in ("../secret.png", str(tmp_path.parent / "secret.png"), "inside/../../secret.png"):
        with pytest.raises(DataError, match="outside of the root directory"):
            content.encode_values([{"photo": path}])
    assert content.encode_values([{"photo": "inside/../p0.png"}]).any()
    with pytest.raises(DataError, match="column 'photo' of item 1 must hold text, got 3"):
        content.encode_values([{"photo": 3}])


def test_a_very_large_picture_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = many_pictures(tmp_path, broken=0)
    monkeypatch.setattr(Picture, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(
        DataError, match=r"40 of 40 files .*0.png \(not a readable image \(Image size \(64 pixels\)"
    ):
        fit_content([image_spec(tmp_path)], dataset)


def test_a_broken_sound_is_named(sounds: SequenceDataset, tmp_path: Path) -> None:
    (tmp_path / "s0.wav").write_bytes(b"RIFF")
    soundfile.write(tmp_path / "s2.wav", np.zeros(0), 8000)
    with pytest.raises(
        DataError, match=r"s0.wav \(not a readable sound \(Format not .*\), s2.wav \(no samples"
    ):
        fit_content([audio_spec(tmp_path)], sounds)


def test_transparent_parts_are_white_and_the_middle_is_kept(tmp_path: Path) -> None:
    Picture.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    from reprise.content.encoders.media_files import read_image

    assert read_image(tmp_path / "clear.png").min() == 255
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, 10:20] = 255
    assert square_image(stripes, 10)[:, 2:8].min() == 255 and square_image(stripes, 10).shape == (10, 10, 3)


def test_resampling_keeps_a_tone() -> None:
    def tone(rate: int) -> np.ndarray:
        return np.sin(2 * np.pi * 100 * np.arange(rate) / rate).astype(np.float32)

    found = resampled(Sound(tone(44_100), 44_100), 8_000)
    assert len(found) == 8_000 and found[500:-500] == pytest.approx(tone(8_000)[500:-500], abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "missing.onnx"}, "cannot read the encoder missing.onnx: No such file"),
        ({"path": b"nonsense"}, "the encoder is not a valid ONNX file"),
        ({"path": b"", "std": (1, 0, 1)}, "mean and std must have three numbers"),
    ],
)
def test_a_wrong_image_encoder_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OnnxImageEncoder(**options)


def test_a_network_for_other_inputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not accept an input \[1, 3, 8, 8\]"):
        OnnxImageEncoder(str(sound_network(tmp_path / "a.onnx")), size=8)([np.zeros((9, 9, 3), np.uint8)])
    with pytest.raises(ConfigError, match="sample_rate must be positive"):
        OnnxAudioEncoder(str(tmp_path / "a.onnx"), sample_rate=0)


def test_an_encoder_is_a_class() -> None:
    with pytest.raises(ConfigError, match="encoder must be a class module:Class, got 'resnet'"):
        Image("photo", encoder="resnet")


@pytest.mark.parametrize(
    ("module", "make", "install"),
    [
        ("sentence_transformers", lambda: SentenceEncoder("a"), r"reprise\[text\]"),
        ("timm", lambda: TimmImageEncoder("resnet18"), "timm"),
        ("torchaudio.pipelines", lambda: TorchaudioEncoder("HUBERT_BASE"), "torchaudio"),
        ("PIL.Image", lambda: Image("photo", encoder="a:B").reader(), r"reprise\[images\]"),
        ("soundfile", lambda: Audio("clip", encoder="a:B").reader(), r"reprise\[audio\]"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    module: str, make: object, install: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"needs the library '{module}', .* run: pip install '{install}'"):
        make()  # type: ignore[operator]


def test_encoders_of_other_libraries_return_one_vector_for_each_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The libraries do not load here, so objects with their functions replace them."""

    def to_tensor(image: Picture.Image) -> torch.Tensor:
        return torch.from_numpy(np.array(image.resize((4, 4)), np.float32))

    data = SimpleNamespace(resolve_model_data_config=lambda model: {}, create_transform=lambda: to_tensor)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 5))
    timm = SimpleNamespace(create_model=lambda name, pretrained, num_classes: network, data=data)
    monkeypatch.setitem(sys.modules, "timm", timm)
    images = [np.zeros((6, 8, 3), np.uint8), np.full((9, 5, 3), 255, np.uint8)]
    assert TimmImageEncoder("small", pretrained=False)(images).shape == (2, 5)

    class Network(torch.nn.Module):
        def extract_features(self, samples: torch.Tensor) -> tuple[list[torch.Tensor], None]:
            return [samples.unfold(1, 400, 320)[..., :7]], None

    pipelines = SimpleNamespace(SMALL=SimpleNamespace(sample_rate=16_000, get_model=Network))
    monkeypatch.setitem(sys.modules, "torchaudio.pipelines", pipelines)
    clips = [Sound(np.ones(8_000, np.float32), 8_000), Sound(np.ones(4_000, np.float32), 16_000)]
    assert TorchaudioEncoder("SMALL")(clips).shape == (2, 7)
    with pytest.raises(ConfigError, match="torchaudio has no pipeline 'SMALLER'; did you mean 'SMALL'"):
        TorchaudioEncoder("SMALLER")

    class Sentences:
        def __init__(self, model: str, device: str) -> None:
            if model != "known":
                raise OSError("no such model")

        def encode(self, texts: list[str], show_progress_bar: bool) -> np.ndarray:
            return np.array([[len(text), 1.0] for text in texts])

    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(SentenceTransformer=Sentences))
    dataset = shop(title=["a", "bb", ""])
    spec = Text("title", encoder="reprise.content:SentenceEncoder", options={"model": "known"})
    found = fit_content([spec], dataset).encode(dataset.table)
    assert found == pytest.approx(np.array([[1, 1], [2, 1], [0, 0]]) / np.sqrt([[2], [5], [1]]))
    with pytest.raises(ConfigError, match="sentence-transformers cannot load 'other': no such model"):
        SentenceEncoder("other")
