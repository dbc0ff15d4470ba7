"""Saved models with changed content and correct checksums are refused, or answer with finite scores."""

import hashlib
import json
import shutil
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rounds import Fuzz, check_message
from safetensors.numpy import load, save

from reprise.errors import RepriseError
from reprise.recommender import Recommender

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def changed_files(draw: Callable[[Any], Any], files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files of a model with one tensor, one entry of the manifest or some bytes changed, and new checksums."""
    files, manifest = dict(files), json.loads(files["manifest.json"])
    place = draw(st.sampled_from(["tensor", "manifest", "bytes"]))
    if place == "tensor":
        tensors = load(files["vectors.safetensors"])
        name = draw(st.sampled_from(sorted(tensors)))
        files["vectors.safetensors"] = save(changed_tensors(draw, tensors, name))
    elif place == "manifest":
        inner = manifest
        while True:
            key = draw(st.sampled_from(sorted(inner)))
            if not isinstance(inner[key], dict) or not inner[key] or draw(st.booleans()):
                break
            inner = inner[key]
        if draw(st.booleans()):
            del inner[key]
        else:
            inner[key] = draw(json_values)
    else:
        name = draw(st.sampled_from(sorted(set(files) - {"manifest.json"})))
        content, position = files[name], draw(st.integers(0, len(files[name])))
        files[name] = (
            content[:position] + draw(st.binary(max_size=20)) + content[position + draw(st.integers(0, 20)) :]
        )
    listed = manifest.get("files")
    for name, entry in listed.items() if isinstance(listed, dict) else ():
        if isinstance(entry, dict) and name in files and place != "manifest":
            entry |= {"sha256": hashlib.sha256(files[name]).hexdigest(), "bytes": len(files[name])}
    manifest.pop("sha256", None)
    manifest["sha256"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return files | {"manifest.json": json.dumps(manifest).encode()}


def changed_tensors(draw: Callable[[Any], Any], tensors: dict[str, Any], name: str) -> dict[str, Any]:
    tensor = tensors[name].copy()
    match draw(st.sampled_from(["drop", "value", "shape", "type", "large"])):
        case "drop":
            return {other: array for other, array in tensors.items() if other != name}
        case "value" if tensor.size:
            value = draw(st.sampled_from([np.nan, np.inf, -np.inf, -1, 10**6]))
            if tensor.dtype.kind == "f" or np.isfinite(value):
                tensor.flat[draw(st.integers(0, tensor.size - 1))] = value
        case "shape":
            tensor = np.ascontiguousarray(
                draw(st.sampled_from([tensor[..., :1], tensor.ravel(), tensor[None], tensor[:0]]))
            )
        case "type":
            tensor = tensor.astype(draw(st.sampled_from([np.float64, np.int64, np.float16, np.bool_])))
        case "large" if tensor.dtype.kind == "f":
            tensor = np.full_like(tensor, 1e38)
    return {**tensors, name: tensor}


def test_fuzz_changed_models_are_refused_or_answer(fuzz: Fuzz, shop: Path, work: Path) -> None:
    original = {file.name: file.read_bytes() for file in (shop / "model").iterdir()}

    # drawn inside the test, because the files of a model are too large to be printed
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        files = changed_files(data.draw, original)
        shutil.rmtree(work / "model", ignore_errors=True)
        (work / "model").mkdir()
        for name, content in files.items():
            (work / "model" / name).write_bytes(content)
        try:
            recommender = Recommender.load(work / "model")
            recommender.self_check()
            ids = recommender.items.ids.tolist()
            for history in ([], ids[:1], ids[1:3]):
                result = recommender.recommend(history, k=min(5, recommender.items.warm))
                assert all(isfinite(one.score) for one in result)
                assert len(result) == min(5, recommender.items.warm)
        except RepriseError as error:
            check_message(error)

    fuzz(check)
