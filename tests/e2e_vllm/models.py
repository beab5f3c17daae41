"""Two models that cost nothing, as directories on this rig: the chat model that the image carries, and one that embeds.

Both come out of a container of the image, as files of whoever runs the tests; no network is asked for.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import docker

PROFILE: Final = "demo-vllm-cpu"
IMAGE: Final = "launchpad/vllm-cpu-demo:0.32.0"
#: How wide the vectors are.
WIDTH: Final = 64
#: A BERT of two layers with random weights: that one text always gives one vector is all it proves. Run by the image's Python.
_MAKE_BERT: Final = """
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

PAD, UNKNOWN, BEGIN, END, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONTEXT = 512

def tokenizer():
    words = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordPieceTrainer(vocab_size=256, special_tokens=list(SPECIAL))
    words.train_from_iterator(["the quick brown fox jumps over the lazy dog", "say hello"] * 10, trainer)
    numbered = [(word, SPECIAL.index(word)) for word in (BEGIN, END)]
    words.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A {END}", special_tokens=numbered)
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token=UNKNOWN,
        pad_token=PAD,
        cls_token=BEGIN,
        sep_token=END,
        mask_token=MASK,
        model_max_length=CONTEXT,
    )

def main():
    out, width = Path(sys.argv[1]), int(sys.argv[2])
    tokenizer().save_pretrained(out)
    torch.manual_seed(0)
    # Heads 32 wide: vLLM's CPU attention refuses 16.
    config = BertConfig(
        vocab_size=256,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=width // 32,
        max_position_embeddings=CONTEXT,
    )
    BertModel(config).save_pretrained(out)

main()
"""


def chat_model(client: docker.DockerClient, folder: Path) -> Path:
    """The tiny Llama of the image, in ``folder``."""
    return _fetched(client, "/opt/models/tiny", folder, "import pathlib")


def embedding_model(client: docker.DockerClient, folder: Path) -> Path:
    """A BERT of two layers with random weights, in ``folder``."""
    return _fetched(client, "/tmp/bert", folder, _MAKE_BERT, "/tmp/bert", str(WIDTH))


def _fetched(client: docker.DockerClient, source: str, folder: Path, script: str, *words: str) -> Path:
    """What lies at ``source`` in a container of the image after its Python has run ``script``."""
    container = client.containers.create(
        IMAGE, entrypoint=["python", "-c", script], command=list(words), network_mode="none"
    )
    try:
        container.start()
        ended = container.wait(timeout=180)
        assert ended["StatusCode"] == 0, container.logs(tail=40).decode(errors="replace")
        stream, _ = container.get_archive(source)
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
            tar.extractall(folder, filter="data")
    finally:
        container.remove(force=True)
    found = folder / Path(source).name
    found.chmod(0o755)  # the server is another user
    for path in found.iterdir():
        path.chmod(0o644)
    return found
