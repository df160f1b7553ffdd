"""What stands beside a model's weights in transformers' format: its tokenizer and its image settings.

Imported by the families of models that `huggingface` opens.
"""

from collections.abc import Callable, Sequence
from typing import Any

from surefoot.backbones._towers import Tokenizer
from surefoot.data.images import Filter, ImageSpec

TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
FILTERS: dict[int, Filter] = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
REMEMBERED = 100_000  # texts whose tokens are kept


class HuggingFaceTokenizer(Tokenizer):
    """A tokenizer of transformers, and the processor that is saved with it.

    `pad` fills rows up, `context` and `vocabulary` are those of the text tower. Texts are lower-cased where the
    tokenizer's settings say so (`do_lower_case`): transformers' own leave that out for SigLIP 2.
    """

    def __init__(self, processor: Any, *, pad: int, context: int, vocabulary: int, name: str) -> None:
        tokens = processor.tokenizer
        if len(tokens) > vocabulary:
            raise ValueError(
                f"backbone {name!r}: the tokenizer has {len(tokens)} tokens, the text tower {vocabulary}; "
                "these files do not belong together"
            )
        self.processor = processor
        self.context = min(context, tokens.model_max_length)
        self.pad = pad
        self.size = len(tokens)
        self.special = frozenset(tokens.all_special_ids)
        self._lower = bool(tokens.init_kwargs.get("do_lower_case", False))
        self._ids = _encoder(tokens)
        self._known: dict[str, list[int]] = {}  # training meets the same captions again and again
        self.end = self._end(tokens, name)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        if len(self._known) > REMEMBERED:
            self._known.clear()
        for text in texts:
            if text not in self._known:
                self._known[text] = self._ids(text.lower() if self._lower else text)
        return [self._known[text] for text in texts]

    def _end(self, tokens: Any, name: str) -> int:
        """The last id of every sentence."""
        empty, some = self.encode(["", "a"])
        ends = (tokens.eos_token_id, tokens.sep_token_id)
        if not empty or empty[-1] != some[-1] or empty[-1] not in ends:
            raise ValueError(
                f"backbone {name!r}: the tokenizer does not close a sentence with its end-of-text token, which the "
                "text tower was trained with; set add_eos_token in tokenizer_config.json"
            )
        return empty[-1]


def _encoder(tokens: Any) -> Callable[[str], list[int]]:
    """Text to ids with start and end, neither cut nor filled up."""
    if not tokens.is_fast:
        return lambda text: list(tokens(text, truncation=False, padding=False, verbose=False).input_ids)
    from tokenizers import Tokenizer as Backend

    backend: Any = Backend.from_str(tokens.backend_tokenizer.to_str())  # its own cutting and filling are off
    backend.no_truncation()
    backend.no_padding()
    return lambda text: list(backend.encode(text).ids)  # encode_batch makes threads, which do not fork


def image_spec(processor: Any, *, reads: Any, name: str) -> ImageSpec:
    """What an image processor does, for an image tower that `reads` images of that size. ValueError for other steps."""
    size, crop = processor.size, processor.crop_size
    steps = (processor.do_resize, processor.do_rescale, processor.do_normalize)
    square = size.height or 0
    cropped = crop is not None and crop.height == crop.width and size.shortest_edge
    squashed = square > 0 and size.height == size.width
    if processor.do_center_crop:
        squashed = squashed and crop is not None and crop.height == crop.width == square
    else:
        cropped = False
    known = processor.resample in FILTERS and abs(processor.rescale_factor * 255 - 1) < 1e-3
    if not all(steps) or not known or not (cropped or squashed):
        raise ValueError(
            f"backbone {name!r}: its image processor does not resize the short side (bicubic or bilinear) and crop a "
            f"square from the centre, as CLIP's does, or resize to a square, as SigLIP's; then normalise. Change "
            f"{PROCESSOR_FILES[0]} if the model was trained that way"
        )
    made = crop.height if cropped else square
    if reads not in (made, [made] * 2, (made,) * 2):
        raise ValueError(
            f"backbone {name!r}: its image processor makes {made} x {made} pixels, but its image tower "
            f"reads {reads}; these files do not belong together"
        )
    return ImageSpec(
        size=made,
        mean=tuple(processor.image_mean),
        std=tuple(processor.image_std),
        resize=size.shortest_edge if cropped else made,
        fit="crop" if cropped else "squash",
        filter=FILTERS[processor.resample],
    )


def resize_processor(processor: Any, spec: ImageSpec) -> None:
    """Make an image processor do what `spec` says, of another size than it did."""
    square = {"height": spec.size, "width": spec.size}
    kind = type(processor.size)
    processor.size = kind(shortest_edge=spec.resize) if spec.fit == "crop" else kind(**square)
    if processor.crop_size is not None:
        processor.crop_size = kind(**square)
