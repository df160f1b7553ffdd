"""A causal language model in transformers' format: a folder or a hub id.

Only safetensors are read, and no code that comes with a model is run.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from surefoot.language_models.base import TOKENS, whole_lines
from surefoot.pretrained import explained, has_one_of, no_progress_bars

ROOM = 64  # tokens that must be left for an answer
UNLIMITED = 1 << 30
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


@dataclass(frozen=True)
class LocalModel:
    """A model on this machine, opened when it is first asked; on a GPU where there is one."""

    path: str
    timeout: float  # seconds

    @property
    def name(self) -> str:
        return self.path

    def answer(self, request: str) -> str:
        """What the model writes after the request."""
        import torch

        model, tokenizer = self._opened
        tokens = _tokens(tokenizer, request).to(model.device)  # (1, T)
        limit = _context(model.config)
        if limit - tokens.shape[1] < ROOM:
            raise ValueError(
                f"--lm={self.path} reads {limit} tokens, of which the request takes {tokens.shape[1]}; "
                "take a model with a longer context"
            )
        begun = time.monotonic()
        with torch.inference_mode():
            written = model.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                max_new_tokens=min(TOKENS, limit - tokens.shape[1]),
                max_time=self.timeout,
            )[0, tokens.shape[1] :]  # (TOKENS) at most
        whole = written[-1].item() in _ends(model, tokenizer)
        if not whole and time.monotonic() - begun > self.timeout:
            raise ValueError(
                f"--lm={self.path} did not answer within --timeout={self.timeout:g} seconds; "
                "give it more, or take a smaller model"
            )
        text: str = tokenizer.decode(written, skip_special_tokens=True)
        return text if whole else whole_lines(text)

    @cached_property
    def _opened(self) -> tuple[Any, Any]:
        """The model and its tokenizer."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
        from transformers.utils import cached_file

        what = f"--lm={self.path}"
        with explained(what, self.path, kind="AutoModelForCausalLM"), no_progress_bars(), _of_a_known_kind(what):
            if not cached_file(self.path, "config.json"):  # from_pretrained would complain of an unknown type
                raise OSError("it has no config.json")
            model, found = AutoModelForCausalLM.from_pretrained(
                self.path, use_safetensors=True, dtype="auto", trust_remote_code=False, output_loading_info=True
            )
            has_tokenizer = has_one_of(self.path, TOKENIZER_FILES)  # transformers would make an empty one
        if found["missing_keys"]:
            some = ", ".join(sorted(found["missing_keys"])[:3])
            raise ValueError(f"{what} lacks the weights {some}; give a whole causal language model")
        if not has_tokenizer:
            raise ValueError(f"{what} has no tokenizer; save it beside the model with tokenizer.save_pretrained")
        with explained(what, self.path, kind="AutoTokenizer"), _of_a_known_kind(what):
            tokenizer = AutoTokenizer.from_pretrained(self.path, trust_remote_code=False)
        ends = _ends(model, tokenizer)
        if not ends:
            raise ValueError(f"{what} has no end-of-text token; set eos_token in its tokenizer_config.json")
        model.generation_config = GenerationConfig(do_sample=False, eos_token_id=ends, pad_token_id=ends[0])
        return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


def _tokens(tokenizer: Any, request: str) -> Any:
    """(1, T): a user's message where the tokenizer has a template for such, else a text that goes on with a list."""
    if not tokenizer.chat_template:
        return tokenizer(f"{request}\n\n- ", return_tensors="pt")["input_ids"]
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": request}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
        enable_thinking=False,  # templates that know no such word pass over it
    )["input_ids"]


def _ends(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end an answer; some models have several."""
    ends = model.generation_config.eos_token_id
    ends = tokenizer.eos_token_id if ends is None else ends
    return [] if ends is None else ends if isinstance(ends, list) else [ends]


def _context(config: Any) -> int:
    """How many tokens a model reads."""
    try:
        return int(config.get_text_config().max_position_embeddings)
    except AttributeError:
        return UNLIMITED


@contextmanager
def _of_a_known_kind(what: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, ImportError) as error:
        first = str(error).partition("\n")[0]
        raise ValueError(f"{what} is no causal language model that transformers opens here: {first}") from error
