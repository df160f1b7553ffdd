"""IconCLIP's architecture, tokenizer and folder: a small `CLIPModel` that `transformers` opens like any other."""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import pre_tokenizers, trainers
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

SIZE = 64
CONTEXT = 24
MEAN = STD = 0.5
WIDTH = 256
PATCH, VISION_LAYERS = 16, 4


def train_tokenizer(sentences: Iterable[str], vocabulary: int) -> CLIPTokenizer:
    """Return a tokenizer in CLIP's format (end-of-text has the largest id) learnt from `sentences`."""
    learner = CLIPTokenizer().backend_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 2 - 256,
        end_of_word_suffix="</w>",
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator(sentences, trainer)
    model = json.loads(learner.to_str())["model"]
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in model["merges"]]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = dict.fromkeys([*alphabet, *(letter + "</w>" for letter in alphabet), *("".join(pair) for pair in merges)])
    tokens = [*tokens, "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)}, merges=merges, model_max_length=CONTEXT
    )


def build_model(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Return the untrained model."""
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    shape = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": 4, "hidden_act": "gelu"}
    config = CLIPConfig(
        text_config={
            **shape,
            **special,
            "num_hidden_layers": 3,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": CONTEXT,
            "projection_dim": WIDTH,
        },
        vision_config={
            **shape,
            "num_hidden_layers": VISION_LAYERS,
            "image_size": SIZE,
            "patch_size": PATCH,
            "projection_dim": WIDTH,
        },
        projection_dim=WIDTH,
        logit_scale_init_value=2.6592,
    )
    return CLIPModel(config)


@torch.no_grad()
def start_image_tower(model: CLIPModel, images: torch.Tensor) -> None:
    """Let the first layer keep what matters of `images` (N, 3, 64, 64), and make places as visible as contents.

    The filters become the patches' main directions, and the position vectors two-dimensional waves. With the usual tiny
    random position vectors, the tower hardly sees where a stroke is, and learns nothing for hundreds of steps.
    """
    embeddings = model.vision_model.embeddings
    patches = torch.nn.functional.unfold(images, PATCH, stride=PATCH).transpose(1, 2).reshape(-1, 3 * PATCH**2)
    patches = patches - patches.mean(0)
    values, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    values, directions = values[-WIDTH:].clamp(min=1e-4), directions[:, -WIDTH:]
    filters = directions / values**0.25
    filters *= 0.7 / (patches @ filters).std()
    embeddings.patch_embedding.weight.copy_(filters.T.view(WIDTH, 3, PATCH, PATCH))
    side = SIZE // PATCH
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    rates = torch.pi / side * torch.arange(1, WIDTH // 4 + 1) / (WIDTH // 4) * side
    waves = [wave(place.reshape(-1, 1) * rates) for place in (rows, columns) for wave in (torch.sin, torch.cos)]
    embeddings.position_embedding.weight[1:].copy_(0.7 * torch.cat(waves, 1))
    embeddings.position_embedding.weight[0].zero_()


def export(model: CLIPModel, weights: dict[str, torch.Tensor], tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write a folder that `CLIPModel`, `AutoTokenizer` and `CLIPImageProcessor` open, with half-precision weights."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.architectures = ["CLIPModel"]
    model.config.dtype = "float16"
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    kept = {name: tensor.half().contiguous() for name, tensor in weights.items() if "position_ids" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": SIZE},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": SIZE, "width": SIZE},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [MEAN] * 3,
        "image_std": [STD] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n", encoding="utf-8")
