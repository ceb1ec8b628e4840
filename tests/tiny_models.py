"""Tiny encoders, made in a moment from a seed: the layouts of real models with 2 layers of 32 dimensions."""

import json
import string
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoModel, BertConfig, DistilBertConfig, MPNetConfig, RobertaConfig
from transformers.utils import logging as transformers_logging

from rag_embedder.scenario import INSTRUCTION_SETS

ARCHITECTURES = ("bert", "roberta", "distilbert", "mpnet")
DIM = 32
POSITIONS = 128

_WORDS = """
a about again all also an and any are as at be because been before book but by call can city come could day did do
does down even find first flight for from get give go good has have he her here him his how i if in into is it its
just know like live look made make many me mean more most my name new next no not now of on one only or other our
out over people play river said say see send she should so some take than that the their them then there these they
thing think this time to two up use very want was way we weather week well were what when where which who why will
with word work would year you your capital country france germany norway paris berlin oslo london rain sun snow
email file number date price red green blue cat dog bird tree house car train music film game food water fire math
add search read write open close user assistant
""".split()  # noqa: SIM905  (a list of 200 quoted words is not easier to read)


@dataclass(frozen=True, slots=True)
class _Specials:
    """Spelling of the special tokens, in the order of their ids."""

    start: str
    pad: str
    stop: str
    unknown: str
    mask: str
    pad_first: bool

    @property
    def in_order(self) -> list[str]:
        first = [self.pad, self.start] if self.pad_first else [self.start, self.pad]
        return [*first, self.stop, self.unknown, self.mask]


_BERT = _Specials("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]", pad_first=True)
_ROBERTA = _Specials("<s>", "<pad>", "</s>", "<unk>", "<mask>", pad_first=False)
_MPNET = _Specials("<s>", "<pad>", "</s>", "[UNK]", "<mask>", pad_first=False)
_SPECIALS = {"bert": _BERT, "distilbert": _BERT, "roberta": _ROBERTA, "mpnet": _MPNET}
_TOKENIZER_CLASSES = {
    "bert": "BertTokenizer",
    "distilbert": "DistilBertTokenizer",
    "roberta": "RobertaTokenizer",
    "mpnet": "MPNetTokenizer",
}


def write_plain(folder: Path, architecture: str = "bert", *, seed: int = 0, vocabulary_size: int | None = None) -> Path:
    """A plain Hugging Face folder: config.json, model.safetensors, tokenizer.json; returns `folder`."""
    folder.mkdir(parents=True)
    tokenizer = make_tokenizer(architecture)
    model = make_model(architecture, vocabulary_size or tokenizer.get_vocab_size(), seed=seed)
    progress_bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    model.save_pretrained(folder)
    if progress_bar:
        transformers_logging.enable_progress_bar()
    tokenizer.save(str(folder / "tokenizer.json"))
    specials = _SPECIALS[architecture]
    names = {
        "cls_token": specials.start,
        "sep_token": specials.stop,
        "pad_token": specials.pad,
        "unk_token": specials.unknown,
        "mask_token": specials.mask,
        **({"bos_token": specials.start, "eos_token": specials.stop} if architecture in ("roberta", "mpnet") else {}),
    }
    write_json(folder / "special_tokens_map.json", names)
    write_json(
        folder / "tokenizer_config.json",
        {**names, "tokenizer_class": _TOKENIZER_CLASSES[architecture], "model_max_length": POSITIONS},
    )
    return folder


def make_sentence_transformer(
    folder: Path,
    *,
    pooling: str = "mean",
    prompts: dict[str, str] | None = None,
    normalize: bool = True,
    max_length: int | None = None,
) -> Path:
    """Turn a plain folder into the layout that Sentence-Transformers 2 wrote (flags, sentence_bert_config.json)."""
    flag = {"cls": "cls_token", "mean": "mean_tokens", "last": "lasttoken", "max": "max_tokens"}[pooling]
    flags = {f"pooling_mode_{each}": each == flag for each in ("cls_token", "mean_tokens", "max_tokens", "lasttoken")}
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] if normalize else [])]
    write_json(
        folder / "modules.json",
        [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (path, kind) in enumerate(kinds)
        ],
    )
    for path, _ in kinds:
        (folder / path).mkdir(exist_ok=True)
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": DIM, **flags})
    write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": max_length or POSITIONS - 32, "do_lower_case": False}
    )
    if prompts is not None:
        write_json(folder / "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": None})
    return folder


def make_model(architecture: str, vocabulary_size: int, *, seed: int = 0) -> torch.nn.Module:
    """Random weights in which words count more than positions, so that texts with common words are near each other."""
    sizes = {"vocab_size": vocabulary_size, "pad_token_id": _SPECIALS[architecture].in_order.index(_pad(architecture))}
    wide = {"hidden_size": DIM, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = {
        "bert": lambda: BertConfig(**sizes, **wide, max_position_embeddings=POSITIONS),
        "roberta": lambda: RobertaConfig(**sizes, **wide, max_position_embeddings=POSITIONS + 2, type_vocab_size=1),
        "mpnet": lambda: MPNetConfig(**sizes, **wide, max_position_embeddings=POSITIONS + 2),
        "distilbert": lambda: DistilBertConfig(
            **sizes, dim=DIM, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=POSITIONS
        ),
    }[architecture]()
    model = AutoModel.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.normal_(0.0, 1.0 if "word_embeddings" in name else 0.03, generator=generator)
    return model.eval()


def make_tokenizer(architecture: str) -> Tokenizer:
    """WordPiece over common words and pairs of letters, or a byte-level BPE for RoBERTa; [CLS] text [SEP]."""
    specials = _SPECIALS[architecture]
    tokenizer = _byte_bpe(specials) if architecture == "roberta" else _word_piece(specials)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in specials.in_order])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{specials.start} $A {specials.stop}",
        pair=f"{specials.start} $A {specials.stop} $B:1 {specials.stop}:1",
        special_tokens=[(token, specials.in_order.index(token)) for token in (specials.start, specials.stop)],
    )
    return tokenizer


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def change_json(path: Path, **changes: object) -> None:
    """Set keys of a JSON object on disk; a value of None removes the key."""
    content = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    write_json(path, {key: value for key, value in content.items() if value is not None})


def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, path, metadata={"format": "pt"})


def _pad(architecture: str) -> str:
    return _SPECIALS[architecture].pad


def _word_piece(specials: _Specials) -> Tokenizer:
    instructions = [
        text
        for pair in INSTRUCTION_SETS["llm-embedder"].values()
        for text in (pair.query_instruction, pair.document_instruction)
    ]
    words = {*_WORDS, *(word.strip(":").lower() for text in instructions for word in text.split())}
    letters = string.ascii_lowercase
    starts = [*string.digits, *string.punctuation, *letters, *(x + y for x in letters for y in letters)]
    pieces = [*starts, *(f"##{piece}" for piece in starts)]
    entries = dict.fromkeys([*specials.in_order, *pieces, *sorted(words)])
    tokenizer = Tokenizer(
        models.WordPiece({entry: number for number, entry in enumerate(entries)}, unk_token=specials.unknown)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _byte_bpe(specials: _Specials) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # Two merges are enough to see that merges are read at all.
    entries = [*specials.in_order, *alphabet, "th", "the"]
    tokenizer = Tokenizer(
        models.BPE(
            {entry: number for number, entry in enumerate(entries)},
            [("t", "h"), ("th", "e")],
            unk_token=specials.unknown,
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
