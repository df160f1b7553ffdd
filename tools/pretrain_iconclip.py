"""Pre-train IconCLIP by contrast of pictures and captions, within a given number of minutes on the CPU.

Resumable: run it again with the same folders and it goes on from its last checkpoint. The learning rate falls linearly
to zero at the end of the minutes, which count training only. Several processes of one thread each, whose gradients are
averaged, lose less on a busy machine than one process of several threads.
"""

import argparse
import copy
import json
import math
import os
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
import transformers
from transformers import CLIPModel, CLIPTokenizer

from captions import ANY_STYLE, COLOURS, STYLE_PHRASES, article
from iconclip_model import build_model, export, start_image_tower, train_tokenizer
from pretraining_pictures import PretrainingPictures
from text_warm_start import embed_texts, warm_start

VOCABULARY = 6000
LOCKED_SHARE = 0.25
"""Of the minutes, how long the warm-started text tower stays as it is: from the start, contrast would be satisfied by
backgrounds and colours, and the text tower would forget what the names mean before the image tower has learnt them."""
TEXTURED_SHARE = 2 / 3
"""Of the pictures in every other batch after that; the rest of the batches are black on white."""
TEXT_RATE = 0.25
"""The text tower's learning rates, as a share of the image tower's."""
FEWEST_ICONS_A_NAME = 3
BANK_STEPS = 100
"""After how many steps the name bank is encoded anew."""
AVERAGE_DECAY = 0.98
"""Of the running average of weights, which intermediate exports carry; the last export carries it too."""


def contrastive_loss(images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor, names: torch.Tensor):
    """Return CLIP's symmetric loss; other pictures of the same name are neither positives nor negatives."""
    logits = scale * images @ texts.T  # (N, N)
    same = names[:, None] == names[None, :]
    same.fill_diagonal_(False)
    logits = logits.masked_fill(same, -1e4)
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def average_gradients(model: CLIPModel) -> None:
    """Give every process the mean of all processes' gradients."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


class NameBank:
    """The text features of all names that several icons share, as many more negatives than a batch has."""

    def __init__(self, pictures: PretrainingPictures):
        counts = torch.bincount(pictures.concept_ids, minlength=len(pictures.concepts))
        self.kept = torch.nonzero(counts >= FEWEST_ICONS_A_NAME)[:, 0]
        self.texts = [f"{article(pictures.concepts[row])}" for row in self.kept.tolist()]
        self.place = torch.full((len(counts),), -1)
        self.place[self.kept] = torch.arange(len(self.kept))
        self.features = torch.empty(0)

    @torch.no_grad()
    def refresh(self, model: CLIPModel, tokenizer: CLIPTokenizer) -> None:
        """Encode the names anew with the text tower as it is."""
        parts = [self.texts[start : start + 2048] for start in range(0, len(self.texts), 2048)]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            self.features = torch.cat([embed_texts(model, tokenizer, part, 8) for part in parts])

    def loss(self, images: torch.Tensor, names: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy of each picture's name among all names; pictures of rarer names do not count."""
        places = self.place[names]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = scale * images @ self.features.T  # (N, names)
        return F.cross_entropy(logits.float(), places, ignore_index=-1)


class Trainer:
    """The model, its two optimizers, the running average of its weights, and where training stands."""

    def __init__(self, model: CLIPModel, options: argparse.Namespace, rank: int):
        self.model, self.options, self.rank = model, options, rank
        self.hidden: list[torch.nn.Parameter] = []
        muon, adam = [], []
        for text in (False, True):
            named = [(n, p) for n, p in model.named_parameters() if n.startswith("text_") == text]
            hidden = [p for n, p in named if ".layers." in n and p.ndim == 2]
            rest = [p for n, p in named if not (".layers." in n and p.ndim == 2)]
            share = TEXT_RATE if text else 1.0
            self.hidden += hidden
            muon.append({"params": hidden[rank :: options.processes], "lr": share * options.muon_rate})
            adam.append({"params": rest, "lr": share * options.rate})
        self.optimizers = [
            torch.optim.Muon(muon, momentum=0.95, weight_decay=0.02),
            torch.optim.AdamW(adam, betas=(0.9, 0.98), weight_decay=0.02),
        ]
        self.rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self.see = torch.compile(lambda images: model.vision_model(pixel_values=images).pooler_output)
        self.average = copy.deepcopy(model.state_dict())
        self.step, self.images, self.seconds = 0, 0, 0.0

    @property
    def progress(self) -> float:
        """The share of the minutes that is used up."""
        return self.seconds / (60 * self.options.minutes)

    def train_step(
        self, tokenizer: CLIPTokenizer, pictures: PretrainingPictures, bank: NameBank
    ) -> tuple[float, float]:
        """Draw a batch, take a step, and return the contrastive loss and the name bank's."""
        start = time.monotonic()
        if len(bank.features) == 0 or (self.progress >= LOCKED_SHARE and self.step % BANK_STEPS == 0):
            bank.refresh(self.model, tokenizer)
        locked = self.progress < LOCKED_SHARE
        textured = 0.0 if locked or self.step % 2 == 0 else TEXTURED_SHARE
        share = self.options.batch // self.options.processes
        seed = self.step * self.options.processes + self.rank
        images, texts, names = pictures.batch(share, seed, textured=textured)
        factor = min(1.0, (self.step + 1) / 40) * max(0.0, 1 - self.progress)
        for optimizer, rates in zip(self.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
        with torch.autocast("cpu", dtype=torch.bfloat16):
            image_features = self.model.visual_projection(self.see(images))
            with torch.set_grad_enabled(not locked):
                text_features = embed_texts(self.model, tokenizer, texts)
        image_features = F.normalize(image_features.float(), dim=-1)
        scale = self.model.logit_scale.exp()
        contrast = contrastive_loss(image_features, text_features, scale, names)
        naming = bank.loss(image_features, names, scale)
        (contrast + naming).backward()
        average_gradients(self.model)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.model.zero_grad()
        self._share_hidden()
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=math.log(100))
            decay = min(AVERAGE_DECAY, self.step / (self.step + 10))
            for name, tensor in self.model.state_dict().items():
                if tensor.is_floating_point():
                    self.average[name].lerp_(tensor, 1 - decay)
        self.step += 1
        self.images += self.options.batch
        record = torch.tensor([time.monotonic() - start, contrast.item(), naming.item()])
        dist.all_reduce(record)
        seconds, contrast, naming = (record / self.options.processes).tolist()
        self.seconds += seconds
        return contrast, naming

    @torch.no_grad()
    def _share_hidden(self) -> None:
        """Take over the matrices that the other processes stepped: Muon's work is dealt out, since it is a third."""
        mine = {id(parameter) for group in self.optimizers[0].param_groups for parameter in group["params"]}
        flat = torch.cat([p.flatten() if id(p) in mine else torch.zeros(p.numel()) for p in self.hidden])
        dist.all_reduce(flat)
        for parameter, values in zip(self.hidden, flat.split([p.numel() for p in self.hidden]), strict=True):
            parameter.copy_(values.view_as(parameter))

    def save(self, path: Path) -> None:
        """Write everything needed to go on, whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "images": self.images,
            "seconds": self.seconds,
        }
        torch.save(state, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint that `save` wrote."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.images, self.seconds = state["step"], state["images"], state["seconds"]


def make_warm_start(options: argparse.Namespace) -> None:
    """Learn the tokenizer, warm-start the text tower, and write both to `options.warm`."""
    left_out = json.loads((options.pretraining / "near_duplicates.json").read_text())
    pictures = PretrainingPictures(options.pretraining, set(left_out["rows"]))
    concepts = pictures.concepts
    words = [*STYLE_PHRASES.values(), ANY_STYLE, tuple(COLOURS), ("on a background", "a photo of", "in the style")]
    sentences = concepts + [phrase for group in words for phrase in group] * 200
    tokenizer = train_tokenizer(sentences, VOCABULARY)
    torch.manual_seed(0)
    model = build_model(tokenizer)
    start_image_tower(model, pictures.batch(4 * options.batch, 0, textured=1 / 3)[0])
    warm_start(model, tokenizer, concepts, seconds=60 * options.warm_minutes, batch=options.batch)
    model.save_pretrained(options.warm)
    tokenizer.save_pretrained(options.warm)


def provenance(trainer: Trainer, pictures: PretrainingPictures, left_out: dict) -> dict:
    """Return what `pretraining.json` records about the data and the run."""
    sets = {}
    for record in pictures.records:
        sets[record["set"]] = sets.get(record["set"], 0) + 1
    return {
        "source": "@iconify/json 2.2.535",
        "sets": sets,
        "icons": len(pictures.records),
        "removed_near_duplicates": left_out["by_set"],
        "removed_near_duplicates_total": len(left_out["rows"]),
        "steps": trainer.step,
        "batch": trainer.options.batch,
        "images_seen": trainer.images,
        "minutes": round(trainer.seconds / 60, 1),
        "warm_start_minutes": trainer.options.warm_minutes,
        "threads": trainer.options.processes * trainer.options.threads,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


def work(rank: int, options: argparse.Namespace) -> None:
    """Train in one process until the minutes are used up; the first one saves and exports on the way."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    meeting = f"file://{(options.output / 'meeting').absolute()}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=options.processes)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    left_out = json.loads((options.pretraining / "near_duplicates.json").read_text())
    pictures = PretrainingPictures(options.pretraining, set(left_out["rows"]))
    model, tokenizer = CLIPModel.from_pretrained(options.warm), CLIPTokenizer.from_pretrained(options.warm)
    model.train()
    trainer = Trainer(model, options, rank)
    state = options.output / f"state-{rank}.pt"
    if state.exists():
        trainer.resume(state)
    bank = NameBank(pictures)
    saved = trainer.seconds
    while trainer.progress < 1:
        contrast, naming = trainer.train_step(tokenizer, pictures, bank)
        if rank == 0 and trainer.step % 10 in (0, 5):
            speed = trainer.images / trainer.seconds
            scale = model.logit_scale.exp().item()
            print(
                f"step {trainer.step}  {trainer.seconds / 60:.1f} min  loss {contrast:.3f} {naming:.3f}  "
                f"scale {scale:.1f}  {speed:.0f}/s",
                flush=True,
            )
        if trainer.seconds - saved > 60 * options.save_every or trainer.progress >= 1:
            saved = trainer.seconds
            trainer.save(state)
            if rank > 0:
                continue
            export(model, trainer.average, tokenizer, options.output / "export")
            facts = provenance(trainer, pictures, left_out)
            (options.output / "export" / "pretraining.json").write_text(json.dumps(facts, indent=2) + "\n")
    dist.destroy_process_group()


def main() -> None:
    """Warm-start the text tower if that is still to do, then train in several processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pretraining", type=Path, help="the folder that build_pretraining_data.py wrote")
    parser.add_argument("output", type=Path, help="for checkpoints, and the exported model in output/export")
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--warm-minutes", type=float, default=3)
    parser.add_argument("--batch", type=int, default=768, help="of all processes together")
    parser.add_argument("--rate", type=float, default=1e-3, help="AdamW's")
    parser.add_argument("--muon-rate", type=float, default=0.02)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--save-every", type=float, default=4, help="minutes between checkpoints")
    options = parser.parse_args()
    options.warm = options.output / "warm_start"
    if not (options.warm / "model.safetensors").exists():
        make_warm_start(options)
    (options.output / "meeting").unlink(missing_ok=True)
    torch.multiprocessing.spawn(work, args=(options,), nprocs=options.processes)


if __name__ == "__main__":
    main()
