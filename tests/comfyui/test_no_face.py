"""No face is a normal result in a real ComfyUI: nothing fails, and nothing runs on nothing."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tests.comfyui.comfyui_server import ComfyServer
from tests.comfyui.prompts import (
    FACES_IN_PHOTO,
    MTCNN,
    PHOTO,
    Prompt,
    detect,
    loader,
    node,
    save,
    show,
)
from tests.comfyui.test_real_comfyui import pixels

pytestmark = pytest.mark.comfyui

#: ComfyUI answers what it has run before from its cache: no two prompts here are the same.
_serial = itertools.count()


def blank(**changes: Any) -> dict[str, Any]:
    inputs = {"width": 320, "height": 200, "batch_size": 2, "color": 0x336600 + next(_serial)}
    return node("EmptyImage", **inputs | changes)


def found(images: str = "photo") -> Prompt:
    return {"loader": loader(**MTCNN), "detect": detect(images)}


def crop(images: str = "photo", faces: str = "detect") -> dict[str, Any]:
    settings = {"shape": "square", "size": 64, "padding": 0.5}
    return node("FastFaceCrop", images=[images, 0], faces=[faces, 0], **settings)


def select(index: int) -> dict[str, Any]:
    settings = {"by": "largest", "index": index, "count": 1, "threshold": 0.3}
    return node("FastFaceSelect", faces=["detect", 0], **settings)


def gate(faces: str = "detect") -> dict[str, Any]:
    return node("FastFaceGate", images=["photo", 0], faces=[faces, 0])


def half(source: str, output: int = 0) -> dict[str, Any]:
    return node("ImageScaleBy", image=[source, output], upscale_method="area", scale_by=0.5)


def paste(crops: str, images: str = "photo") -> dict[str, Any]:
    origin = {"origin": ["crop", 1], "feather": 0.1}
    return node("FastFacePaste", images=[images, 0], crops=[crops, 0], **origin)


@pytest.mark.parametrize("nothing", ["no face", "none picked"])
def test_nothing_fails_behind_crops_of_nobody(comfyui: ComfyServer, nothing: str):
    """Also where there are faces, and none was picked."""
    nobody = nothing == "no face"
    prompt: Prompt = {
        **found(),
        "photo": blank() if nobody else node("LoadImage", image=PHOTO),
        "select": select(900 + next(_serial)),
        "crop": crop(faces="select"),
        "scaled": half("crop"),
        "vae": node("VAELoader", vae_name="pixel_space"),
        "latent": node("VAEEncode", pixels=["crop", 0], vae=["vae", 0]),
        "decoded": node("VAEDecode", samples=["latent", 0], vae=["vae", 0]),
        "save": save("crop"),
        "preview": node("PreviewImage", images=["scaled", 0]),
        "save decoded": save("decoded"),
        "count": show("crop", 2),
        "indices": show("crop", 3),
        "gate": gate("select"),
        "save gated": save("gate"),
        "gate indices": show("gate", 4),
        "has face": show("gate", 3),
    }
    outputs = comfyui.run(prompt)
    blocked = ("save", "preview", "save decoded", "indices", "save gated", "gate indices")
    assert not set(blocked) & set(outputs)
    assert outputs["count"]["text"] == ["0"] and outputs["has face"]["text"] == ["False"]
    total = "2 images" if nobody else "1 image"
    for name in ("select", "crop", "gate", *(["detect"] if nobody else [])):
        assert f"no face in {total}" in outputs[name]["text"][0]


def test_paste_passes_the_images_through_and_runs_nothing_for_it(comfyui: ComfyServer):
    prompt: Prompt = {
        **found(),
        "photo": blank(),
        "crop": crop(),
        "edited": half("crop"),
        "paste": paste("edited"),
        "save": save("paste"),
        "mask": node("MaskToImage", mask=["paste", 1]),
        "save mask": save("mask"),
        "expected": save("photo"),
    }
    outputs = comfyui.run(prompt)
    assert outputs["paste"]["text"] == ["no face in 2 images: the images are passed through"]
    for got, expected in zip(outputs["save"]["images"], outputs["expected"]["images"], strict=True):
        expected_pixels = pixels(comfyui.image_path({"images": [expected]}))
        assert np.array_equal(pixels(comfyui.image_path({"images": [got]})), expected_pixels)
    assert not pixels(comfyui.image_path({"images": outputs["save mask"]["images"][:1]})).any()


def test_paste_with_faces_asks_for_the_crops(comfyui: ComfyServer):
    prompt: Prompt = {
        **found(),
        "photo": node("LoadImage", image=PHOTO),
        "crop": crop(),
        "edited": node("ImageInvert", image=["crop", 0]),
        "paste": paste("edited"),
        "save": save("paste"),
        "expected": save("photo"),
    }
    outputs = comfyui.run(prompt)
    assert outputs["paste"]["text"] == [f"pasted {FACES_IN_PHOTO} crops"]
    got, expected = (
        pixels(comfyui.image_path(outputs[name])).astype(int) for name in ("save", "expected")
    )
    assert 0.005 < (abs(got - expected) > 8).any(-1).mean() < 0.5


def test_a_list_with_and_without_faces(comfyui: ComfyServer):
    """Each image is a run of its own; the texts and pictures of all runs are joined."""
    prompt: Prompt = {
        **found(),
        "first": node("LoadImage", image=PHOTO),
        "second": blank(batch_size=1),
        "photo": node("ImageBatch", image1=["first", 0], image2=["second", 0]),
        "segs": node(
            "FastFaceSEGS",
            images=["photo", 0],
            faces=["detect", 0],
            mask_shape="box",
            crop_factor=2.0,
            drop_size=1,
        ),
        "each": {**detect("segs"), "inputs": {**detect("segs")["inputs"], "images": ["segs", 1]}},
        "crop": crop(),
        "image": node("ImageFromBatch", image=["photo", 0], batch_index=["crop", 3], length=1),
        "of each crop": save("image"),
        "crop each": {**crop("segs", "each")},
        "save": save("crop each"),
    }
    prompt["crop each"]["inputs"]["images"] = ["segs", 1]
    outputs = comfyui.run(prompt)
    some, none = f"{FACES_IN_PHOTO} faces in 1 image", "no face in 1 image"
    assert outputs["each"]["text"] == [some, none] and len(outputs["each"]["images"]) == 2
    assert outputs["crop each"]["text"] == [
        f"crops of {some}",
        f"{none}: nothing goes on behind crops",
    ]
    assert len(outputs["save"]["images"]) == FACES_IN_PHOTO
    # The image of each crop is the photo, never the blank one.
    assert len(outputs["of each crop"]["images"]) == FACES_IN_PHOTO
    for image in outputs["of each crop"]["images"]:
        assert len(np.unique(pixels(comfyui.image_path({"images": [image]})))) > 100


def test_a_wrong_value_on_a_link_names_its_input(comfyui: ComfyServer):
    prompt: Prompt = {
        **found(),
        "photo": node("LoadImage", image=PHOTO),
        "none": select(900 + next(_serial)),
        "crop": crop(),
        "save": save("crop"),
    }
    prompt["crop"]["inputs"]["size"] = ["none", 1]  # the number of faces picked: 0
    result = comfyui.result(comfyui.queue(prompt))
    event, details = result["status"]["messages"][-1]
    assert event == "execution_error" and details["node_type"] == "FastFaceCrop"
    assert "got size 0, expected a whole number from 16 to 4096" in details["exception_message"]
