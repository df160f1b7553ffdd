"""What several test files share: very small checkpoints and an endpoint of a language model, made on the spot."""

import http.server
import json
import os
import shutil
import string
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

START, END = "<|startoftext|>", "<|endoftext|>"

torch.set_num_threads(1)  # the tests are small, and several run at a time
os.environ["OMP_NUM_THREADS"] = "1"  # also for the processes that they start
os.environ["SUREFOOT_CACHE"] = "off"  # nothing is kept from one test to the next; some set their own

MakeClip = Callable[..., Any]
MakeSiglip = Callable[..., Any]
MakeLanguageModel = Callable[..., None]


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
def make_siglip() -> MakeSiglip:
    """Save a very small SigLIP 2 of one resolution with a letter tokenizer into a folder, and return the model."""
    from transformers import GemmaTokenizer, SiglipConfig, SiglipModel, SiglipProcessor
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *string.ascii_letters, *".,'-", "▁"]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}

    def make(folder: Path, *, context: int = 64, adds_end: bool = True, head: bool = True) -> SiglipModel:
        width = {"intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        text = {"vocab_size": len(pieces), "hidden_size": 32, "max_position_embeddings": context, **width}
        marks = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "projection_size": 48}
        vision = {"hidden_size": 48, "image_size": 16, "patch_size": 8, "vision_use_head": head, **width}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = SiglipModel(SiglipConfig(text_config=text | marks, vision_config=vision)).eval()
            for parameter in model.parameters():
                parameter.data += 0.2 * torch.randn_like(parameter)
        model.logit_scale.data.fill_(2.5)
        model.logit_bias.data.fill_(-3.0)
        tokenizer = GemmaTokenizer(
            vocab=vocabulary,
            merges=[],
            add_bos_token=False,
            add_eos_token=adds_end,
            padding_side="right",
            do_lower_case=True,
            model_input_names=["input_ids"],
            model_max_length=context,
        )
        images = SiglipImageProcessorPil(size={"height": 16, "width": 16}, resample=2)
        model.save_pretrained(folder)
        SiglipProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
        return model

    return make


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory, make_siglip: MakeSiglip) -> Path:
    """A very small SigLIP 2 checkpoint; to be read only."""
    folder = tmp_path_factory.mktemp("siglip")
    make_siglip(folder)
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


@pytest.fixture(scope="session")
def make_language_model() -> MakeLanguageModel:
    """Save a very small GPT-2 into a folder that answers everything with `lines`, or by chance where `seed` is not 0.

    Each line is a token of its own, so that the next one follows from the last alone.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    def make(folder: Path, lines: Sequence[str], *, seed: int = 0, ends: bool = True, context: int = 256) -> None:
        vocabulary = {piece: i for i, piece in enumerate(["<unknown>", "<end>", *(f"{line}\n" for line in lines)])}
        backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
        backend.pre_tokenizer = pre_tokenizers.Split("\n", "merged_with_previous")
        backend.decoder = decoders.Fuse()
        size = len(vocabulary)
        config = GPT2Config(
            vocab_size=size, n_embd=size, n_layer=1, n_head=1, n_positions=context, tie_word_embeddings=False,
            bos_token_id=1, eos_token_id=1,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = GPT2LMHeadModel(config)
        if not seed:
            follows = torch.zeros(size, size)  # (next, last)
            order = [0, *range(2, size), 1] if ends else [0, *range(2, size), 2]
            for last, following in pairwise(order):
                follows[following, last] = 1
            with torch.no_grad():
                for parameter in model.transformer.h.parameters():
                    parameter.zero_()
                model.transformer.wpe.weight.zero_()
                model.transformer.wte.weight.copy_(torch.eye(size))
                model.lm_head.weight.copy_(follows)
        model.save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unknown>", eos_token="<end>").save_pretrained(
            folder
        )

    return make


@dataclass
class Stub:
    """An endpoint on this machine: it gives the replies in their order, the last one again and again."""

    url: str
    replies: list[tuple[int, dict[str, str], list[bytes]]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    pause: float = 0.0  # seconds before each part of a body
    closed: threading.Event = field(default_factory=threading.Event)

    def says(self, text: str, *, finish: str = "stop") -> None:
        """A chat completion of one choice."""
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
        self.sends(200, json.dumps({"choices": [choice]}).encode())

    def sends(self, status: int, *parts: bytes, **headers: str) -> None:
        self.replies.append((status, headers, list(parts)))


@pytest.fixture
def stub() -> Iterator[Stub]:
    made = Stub("")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            made.asked.append((self.path, dict(self.headers), json.loads(content)))
            status, headers, parts = made.replies[min(len(made.asked), len(made.replies)) - 1]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                for part in parts:
                    made.closed.wait(made.pause)
                    self.wfile.write(part)
                    self.wfile.flush()
            except OSError:  # nobody reads on
                pass

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    yield made
    made.closed.set()
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class FileServer:
    """A web server for the files below `root`, with byte ranges unless `ranges` is off; it remembers who asked what."""

    root: Path
    url: str = ""
    ranges: bool = True
    fail: int = 0  # so many of the next requests get 503
    asked: list[str] = field(default_factory=list)  # paths of requests for content
    sent: int = 0  # bytes of content


class FileHandler(http.server.BaseHTTPRequestHandler):
    shelf: FileServer

    def do_HEAD(self) -> None:
        self.answer(with_content=False)

    def do_GET(self) -> None:
        self.answer(with_content=True)

    def answer(self, *, with_content: bool) -> None:
        shelf, file = self.shelf, self.shelf.root / self.path.lstrip("/")
        if shelf.fail > 0:
            shelf.fail -= 1
            return self.send_error(503)
        if not file.is_file():
            return self.send_error(404)
        data, wanted = file.read_bytes(), self.headers.get("Range", "")
        first, last = 0, len(data) - 1
        if wanted and shelf.ranges:
            start, _, end = wanted.removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(end or last), last)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        else:
            self.send_response(200)
        if shelf.ranges:
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{file.stat().st_mtime_ns}"')
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        if with_content:
            shelf.asked.append(self.path)
            shelf.sent += last - first + 1
            self.wfile.write(data[first : last + 1])
        return None

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def file_server(tmp_path: Path) -> Iterator[FileServer]:
    """A server for the folder `served` of the test."""
    (tmp_path / "served").mkdir()
    shelf = FileServer(tmp_path / "served")
    handler = type("Handler", (FileHandler,), {"shelf": shelf})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    shelf.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield shelf
    server.shutdown()
    server.server_close()
    thread.join()


class RefusingHub(http.server.BaseHTTPRequestHandler):
    """Answers as the hub does for what is gated, missing, or without that revision."""

    def do_HEAD(self) -> None:
        gated, revision = "gated" in self.path, "no-such-revision" in self.path
        self.send_response(403 if gated else 404)
        code = "GatedRepo" if gated else "RevisionNotFound" if revision else "RepoNotFound"
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="session")
def refusing_hub() -> Iterator[str]:
    """The address of a hub that has nothing for us."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RefusingHub)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def chromium() -> list[str]:
    """The beginning of a command that starts a headless Chromium which talks to no server of its own."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium on this machine; `make chromium` brings it")
    return [
        *(found, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    ]
