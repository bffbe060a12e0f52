"""Impact Pack's own nodes with this pack's detector, in a real ComfyUI: FaceDetailer to the pixel.

COMFYUI_IMPACT_PATH names a checkout of ltdrdata/ComfyUI-Impact-Pack. Its code runs as it is, with a
diffusion model of ComfyUI's own code that is tiny and has random weights: what is painted is noise,
but where, how often and from which crops is what FaceDetailer makes of the faces.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.comfyui.comfyui_server import PACK_FOLDER, ComfyServer
from tests.comfyui.fixtures import add_node, fill
from tests.comfyui.prompts import FACES_IN_PHOTO, MTCNN, PHOTO, Prompt, loader, node, save
from tests.comfyui.test_real_comfyui import pixels

pytestmark = pytest.mark.comfyui

DILATION = 4
#: Of MTCNN's scores, at which the six faces of the photo are found and nothing else.
THRESHOLD = 0.9

#: A latent diffusion model with ComfyUI's classes, small enough for a CPU.
TINY_MODEL = """
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL

WIDTH = 32

class TestTinyModel:
    FUNCTION, CATEGORY = "make", "tests"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE", "CONDITIONING")

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        torch.manual_seed(0)
        config = comfy.supported_models.SD15({
            "image_size": 32, "use_checkpoint": False, "use_spatial_transformer": True,
            "legacy": False, "in_channels": 4, "out_channels": 4, "model_channels": WIDTH,
            "num_res_blocks": [1, 1], "channel_mult": [1, 2], "transformer_depth": [1, 1],
            "transformer_depth_output": [1, 1, 1, 1], "transformer_depth_middle": 1,
            "context_dim": WIDTH, "use_linear_in_transformer": False, "adm_in_channels": None,
            "use_temporal_attention": False,
        })
        config.set_inference_dtype(torch.float32, None)
        model = config.get_model({}, "")
        with torch.no_grad():
            for each in model.parameters():
                each.normal_(0, 0.02)
        cpu = torch.device("cpu")
        patcher = comfy.model_patcher.ModelPatcher(model, cpu, cpu)
        parts = {"double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3,
                 "out_ch": 3, "ch": WIDTH, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1,
                 "attn_resolutions": [], "dropout": 0.0}
        params = {"ddconfig": parts, "embed_dim": 4}
        vae = AutoencoderKL(**params)
        with torch.no_grad():
            for each in vae.parameters():
                each.normal_(0, 0.02)
        vae = comfy.sd.VAE(vae.state_dict(), config={"params": params})
        return patcher, None, vae, [[torch.zeros(1, 4, WIDTH), {}]]

NODE_CLASS_MAPPINGS = {"TestTinyModel": TestTinyModel}
"""


@pytest.fixture(scope="module")
def impact(
    checkout: Path,
    python: str,
    options: str,
    installed: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ComfyServer]:
    path = os.environ.get("COMFYUI_IMPACT_PATH", "")
    if not path or not Path(path, "modules", "impact").is_dir():
        pytest.skip("COMFYUI_IMPACT_PATH names no checkout of ComfyUI-Impact-Pack")
    base = tmp_path_factory.mktemp("impact")
    fill(base, PACK_FOLDER, installed, None, None)
    # A copy: it writes its settings into its own folder.
    copy = base / "custom_nodes" / "ComfyUI-Impact-Pack"
    shutil.copytree(path, copy, ignore=shutil.ignore_patterns(".git", "__pycache__"))
    # Version 7 wants what its installer adds: nodes for YOLO models, which the detector replaces.
    yolo = copy / "impact_subpack" / "impact" / "subpack_nodes.py"
    if not yolo.exists():
        yolo.parent.mkdir(parents=True)
        yolo.write_text("NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS = {}, {}\n")
    add_node(base, "tiny_model", TINY_MODEL)
    with ComfyServer(checkout, python, base, options) as server:
        if "BboxDetectorSEGS" not in server.call("/object_info"):
            pytest.skip(f"Impact Pack does not start here\n{server.log()}")
        yield server


def begin(mask_shape: str = "box") -> Prompt:
    return {
        "photo": node("LoadImage", image=PHOTO),
        "loader": loader(**MTCNN, det_threshold=THRESHOLD),
        "detector": node("FastFaceBBoxDetector", faceanalysis=["loader", 0], mask_shape=mask_shape),
    }


def segs_of(class_type: str, **inputs: Any) -> dict[str, Any]:
    settings = {"crop_factor": 2.0, "drop_size": 10}
    return node(class_type, bbox_detector=["detector", 0], image=["photo", 0], **settings | inputs)


def mask_saved(prompt: Prompt, source: str, output: int = 0) -> None:
    prompt[f"{source} image"] = node("MaskToImage", mask=[source, output])
    prompt[f"{source} saved"] = save(f"{source} image")


def test_its_detector_nodes_give_the_faces(impact: ComfyServer):
    """The masks of three of its nodes are the same, and those of FastFace Detect."""
    prompt = begin() | {
        "segs": segs_of("BboxDetectorSEGS", threshold=THRESHOLD, dilation=DILATION, labels="face"),
        "simple": segs_of(
            "ImpactSimpleDetectorSEGS",
            bbox_threshold=THRESHOLD,
            bbox_dilation=DILATION,
            sub_threshold=0.5,
            sub_dilation=0,
            sub_bbox_expansion=0,
            sam_mask_hint_threshold=0.7,
        ),
        "combined": node(
            "BboxDetectorCombined_v2",
            bbox_detector=["detector", 0],
            image=["photo", 0],
            threshold=THRESHOLD,
            dilation=DILATION,
        ),
        "of segs": node("SegsToCombinedMask", segs=["segs", 0]),
        "of simple": node("SegsToCombinedMask", segs=["simple", 0]),
        "preview": node("SEGSPreview", segs=["segs", 0], alpha_mode=True, min_alpha=0.2),
        "crops": node("SEGSToImageList", segs=["segs", 0]),
        "shown crops": node("PreviewImage", images=["crops", 0]),
        "found": node(
            "FastFaceDetect",
            faceanalysis=["loader", 0],
            images=["photo", 0],
            mask_shape="box",
            bbox_format="xywh",
            annotate=False,
        ),
        "ours": node(
            "FastFaceMask",
            faces=["found", 0],
            shape="box",
            grow=DILATION,
            blur=0.0,
            bbox_format="xywh",
        ),
    }
    for source in ("combined", "of segs", "of simple", "ours"):
        mask_saved(prompt, source)
    outputs = impact.run(prompt)
    assert len(outputs["preview"]["images"]) == FACES_IN_PHOTO
    assert len(outputs["shown crops"]["images"]) == FACES_IN_PHOTO
    masks = {
        source: pixels(impact.image_path(outputs[f"{source} saved"]))
        for source in ("combined", "of segs", "of simple", "ours")
    }
    assert masks["ours"].any() and not masks["ours"].all()
    for source, mask in masks.items():
        np.testing.assert_array_equal(mask, masks["ours"], err_msg=source)


def detailer(image: str) -> dict[str, Any]:
    return node(
        "FaceDetailer",
        image=[image, 0],
        model=["tiny", 0],
        clip=["tiny", 1],
        vae=["tiny", 2],
        positive=["tiny", 3],
        negative=["tiny", 3],
        bbox_detector=["detector", 0],
        guide_size=64,
        guide_size_for=True,
        max_size=128,
        seed=1,
        steps=1,
        cfg=1.0,
        sampler_name="euler",
        scheduler="normal",
        denoise=0.5,
        feather=0,
        noise_mask=True,
        force_inpaint=True,
        bbox_threshold=THRESHOLD,
        bbox_dilation=DILATION,
        bbox_crop_factor=1.5,
        sam_detection_hint="none",
        sam_dilation=0,
        sam_threshold=0.93,
        sam_bbox_expansion=0,
        sam_mask_hint_threshold=0.7,
        sam_mask_hint_use_negative="False",
        drop_size=10,
        wildcard="",
        cycle=1,
        noise_mask_feather=0,
    )


def test_face_detailer_paints_the_faces_and_nothing_else(impact: ComfyServer):
    prompt = begin() | {
        "tiny": node("TestTinyModel"),
        "detailer": detailer("photo"),
        "photo saved": save("photo"),
        "result saved": save("detailer", 0),
        "refined": node("PreviewImage", images=["detailer", 1]),
    }
    mask_saved(prompt, "detailer", 3)
    outputs = impact.run(prompt)
    assert len(outputs["refined"]["images"]) == FACES_IN_PHOTO
    before = pixels(impact.image_path(outputs["photo saved"])).astype(int)
    after = pixels(impact.image_path(outputs["result saved"])).astype(int)
    mask = pixels(impact.image_path(outputs["detailer saved"])).any(axis=2)
    changed = np.abs(after - before).max(axis=2) > 1
    assert changed[mask].mean() > 0.9
    assert not changed[~mask].any()


def test_face_detailer_passes_an_image_without_a_face_through(impact: ComfyServer):
    prompt = begin() | {
        "blank": node("EmptyImage", width=320, height=200, batch_size=1, color=0x336699),
        "tiny": node("TestTinyModel"),
        "detailer": detailer("blank"),
        "blank saved": save("blank"),
        "result saved": save("detailer", 0),
    }
    mask_saved(prompt, "detailer", 3)
    outputs = impact.run(prompt)
    np.testing.assert_array_equal(
        pixels(impact.image_path(outputs["result saved"])),
        pixels(impact.image_path(outputs["blank saved"])),
    )
    assert not pixels(impact.image_path(outputs["detailer saved"])).any()
