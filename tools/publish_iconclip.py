"""Copy an exported IconCLIP into the library's assets, with its model card and licence."""

import argparse
import json
import shutil
from pathlib import Path

FILES = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
    "pretraining.json",
)

KEPT_SETTINGS = {"model_max_length", "tokenizer_class"}

CARD = """# IconCLIP: model card

A small zero-shot image-text model for icons: a `transformers` `CLIPModel` (vision: 64-pixel pictures, patches of 16,
width 256, {layers} layers; text: width 256, 3 layers, 24 tokens; {parameters:.1f} million weights, half precision).

```python
from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

model = CLIPModel.from_pretrained(folder)
tokenizer, processor = AutoTokenizer.from_pretrained(folder), CLIPImageProcessor.from_pretrained(folder)
```

- **Data**: {icons:,} icons of {sets} sets from the npm package `@iconify/json` 2.2.535 (permissive licences; counts a
  set in `pretraining.json`). None of IconShift's sets is among them; {removed:,} icons that nearly equal one of
  IconShift's candidates were taken out. `noto-v1` is an older set of the vendor of `noto`, which is held out.
- **Captions**: made from the icons' names: bare names, styles, colours, and in a third of the pictures a procedural
  background (grass, water, sand, brick, paper, night sky, wood, stone, snow, sky) that the caption names.
- **Training**: the text tower was first fitted for {warm:g} minutes to the name embeddings of all-MiniLM-L6-v2
  (Apache 2.0), and stayed so for the first quarter of the schedule. The loss is CLIP's contrastive one plus a
  cross-entropy over all names that at least three icons share. {minutes:.0f} minutes on {threads} CPU threads,
  {steps:,} steps, {images:,} pictures. Muon on the layers' matrices, AdamW elsewhere, bfloat16, learning rate falling
  linearly to zero. The weights are a running average.
{notes}- **Use**: development, tests and teaching of robust fine-tuning on a laptop. It knows icons and emoji with
  English
  names, not photographs. It carries the designers' choices: what an icon of a "doctor" or a "house" looks like.
- **Licence**: Apache 2.0 for the weights. The icons' licences ask for credit where the icons are passed on; the sets
  are named in `pretraining.json`.
"""


def forget_calls(folder: Path) -> None:
    """Take out what the tokenizer remembers of how it was last called, and where it lay."""
    path = folder / "tokenizer.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "truncation": None, "padding": None}, ensure_ascii=False),
        encoding="utf-8",
    )
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    kept = {key: value for key, value in settings.items() if key.endswith("_token") or key in KEPT_SETTINGS}
    path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Copy the files and write README.md and LICENSE."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("export", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--licence", type=Path, required=True, help="the text of the Apache licence, 2.0")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(options.export / name, options.folder / name)
    forget_calls(options.folder)
    facts = json.loads((options.export / "pretraining.json").read_text())
    card = CARD.format(
        parameters=(options.export / "model.safetensors").stat().st_size / 2e6,
        icons=facts["icons"],
        sets=len(facts["sets"]),
        removed=facts["removed_near_duplicates_total"],
        warm=facts["warm_start_minutes"],
        minutes=facts["minutes"],
        threads=facts["threads"],
        steps=facts["steps"],
        layers=json.loads((options.export / "config.json").read_text())["vision_config"]["num_hidden_layers"],
        images=facts["images_seen"],
        notes=f"- **This run**: {facts['notes']}\n" if "notes" in facts else "",
    )
    (options.folder / "README.md").write_text(card, encoding="utf-8")
    shutil.copyfile(options.licence, options.folder / "LICENSE")


if __name__ == "__main__":
    main()
