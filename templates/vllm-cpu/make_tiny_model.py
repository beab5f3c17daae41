"""Make a checkpoint that costs nothing: a two-layer Llama with random weights and a tokenizer of 512 byte pairs.

It proves that a server loads, answers and streams. What it says is noise, made of readable words so that a person sees text
arrive, and it never ends by itself: the client's ``max_tokens`` does. It refuses to be useful.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SENTENCE = "the quick brown fox jumps over the lazy dog"
BEGIN, END, PAD = "<s>", "</s>", "<pad>"
SPECIAL_TOKENS = (BEGIN, END, PAD, "<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tokenizer(context: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most 512 entries that can spell anything."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    bpe.train_from_iterator([SENTENCE] * 10, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=BEGIN, eos_token=END, pad_token=PAD, model_max_length=context
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def model(context: int, seed: int, speakable: list[int]) -> LlamaForCausalLM:
    """Random weights in float32, the same ones for the same seed; only the tokens ``speakable`` ever win.

    Heads are 32 wide because vLLM's CPU attention refuses 16: such a server answers /health and dies of its first request.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=context,
        bos_token_id=SPECIAL_TOKENS.index(BEGIN),
        eos_token_id=SPECIAL_TOKENS.index(END),
        pad_token_id=SPECIAL_TOKENS.index(PAD),
    )
    llama = LlamaForCausalLM(config)
    mute = torch.ones(config.vocab_size, dtype=torch.bool)
    mute[speakable] = False
    with torch.no_grad():
        llama.lm_head.weight[mute] = 0.0  # a logit of 0: among the others one is above it
    llama.generation_config.do_sample = True
    llama.generation_config.top_k = 1  # vLLM's default for requests that say nothing of sampling: keeps the mute out
    return llama


def main() -> None:
    """Write the checkpoint into the directory named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--context", type=int, default=2048, help="tokens")
    wanted = parser.parse_args()
    wanted.out.mkdir(parents=True, exist_ok=True)
    words = tokenizer(wanted.context)
    words.save_pretrained(wanted.out)
    speakable = sorted(set(words(f" {SENTENCE}")["input_ids"]))
    model(wanted.context, wanted.seed, speakable).save_pretrained(wanted.out)
    for path in wanted.out.iterdir():  # transformers writes weights as 0600, and the server is another user
        path.chmod(0o644)


if __name__ == "__main__":
    main()
