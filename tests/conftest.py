"""What several test files share: very small CLIP checkpoints, made on the spot."""

import os
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

START, END = "<|startoftext|>", "<|endoftext|>"

torch.set_num_threads(1)  # the tests are small, and several run at a time
os.environ["OMP_NUM_THREADS"] = "1"  # also for the processes that they start

MakeClip = Callable[..., Any]


@pytest.fixture(scope="session")
def make_clip() -> MakeClip:
    """Save a very small CLIP with a letter tokenizer into a folder, as transformers would, and return the model."""
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTokenizer
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    pieces = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase), START, END]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}

    def make(folder: Path, *, end_id: int = vocabulary[END], image_size: int = 32, context: int = 16) -> CLIPModel:
        width = {"intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        text = {
            "vocab_size": len(pieces),
            "hidden_size": 32,
            "max_position_embeddings": context,
            "bos_token_id": vocabulary[START],
            "eos_token_id": end_id,
            **width,
        }
        vision = {"hidden_size": 48, "image_size": image_size, "patch_size": 8, **width}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).eval()
            for parameter in model.parameters():  # fresh weights are so small that every sentence looks alike
                parameter.data += 0.2 * torch.randn_like(parameter)
        model.logit_scale.data.fill_(3.0)
        images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
        tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=context)
        model.save_pretrained(folder)
        CLIPProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
        return model

    return make


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> Path:
    """A very small CLIP checkpoint; to be read only."""
    folder = tmp_path_factory.mktemp("clip")
    make_clip(folder)
    return folder


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noisy red, green and blue squares: train, validation, test and the shift `dim`; to be read only."""
    root = tmp_path_factory.mktemp("squares")
    draw = np.random.default_rng(0)
    colours = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)}
    for split, count in (("train", 12), ("validation", 4), ("test", 5), ("dim", 5)):
        for name, colour in colours.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            light = 0.4 if split == "dim" else 1.0
            for i in range(count):
                pixels = draw.normal(0, 40, (20, 24, 3)) + light * np.array(colour)
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def quick(squares: Path) -> dict[str, Any]:
    """Settings of a run that takes a second."""
    return {
        "task": str(squares),
        "backbone": "tiny",
        "engine.batch_size": 12,
        "engine.epochs": 2,
        "engine.precision": "32",
        "data.workers": 0,
    }
