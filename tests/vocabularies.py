"""Small tokenizers of the kinds that are published, written as files."""

import io
import json
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer, WordPieceTrainer

TEXT = ["la ba de ni vu xa zo", "fi go ku ba ba de", "alpha beta gamma", "a b c. d, e! a's"] * 9


def byte_level(path: Path, *special: str, ordinary: tuple[str, ...] = ()) -> Path:
    """GPT-2's kind: every byte is a letter of the alphabet."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=290,
        special_tokens=list(special),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in ordinary])
    tokenizer.save(str(path))
    return path


def byte_fallback(path: Path, before: tuple[str, ...] = ()) -> Path:
    """Llama 2's kind: a space before the text, and bytes for what the vocabulary lacks."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    trainer = BpeTrainer(
        vocab_size=340,
        special_tokens=["<unk>", "<s>", "</s>", *bytes_],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    if before:
        ids = [(name, tokenizer.token_to_id(name)) for name in before]
        template = f"{' '.join(before)} $A"
        tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=ids)
    tokenizer.save(str(path))
    return path


def without_unknown(path: Path, unknown: str | None = None) -> Path:
    """Words after a mark for the space, of the letters of TEXT alone; others are dropped, or are
    one unknown token."""
    tokenizer = Tokenizer(models.BPE(unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    names = ["<|endoftext|>", *([unknown] if unknown else [])]
    trainer = BpeTrainer(vocab_size=80, special_tokens=names, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.save(str(path))
    return path


def suffixed(path: Path) -> Path:
    """GPT-1's kind: a mark at the end of each word stands for the space after it."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = BpeTrainer(
        vocab_size=90,
        special_tokens=["<unk>", "<eos>"],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.save(str(path))
    return path


def words(path: Path) -> Path:
    """Whole words, which the decoder puts spaces between; there is no letter a."""
    names = ["<unk>", "<eos>", *sorted({word for text in TEXT for word in text.split()} - {"a"})]
    tokenizer = Tokenizer(models.WordLevel({name: id for id, name in enumerate(names)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in names[:2]])
    tokenizer.save(str(path))
    return path


def word_piece(path: Path) -> Path:
    """BERT's kind: words cut to pieces, [CLS] before and [SEP] after a text."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = WordPieceTrainer(vocab_size=90, special_tokens=names, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(path))
    return path


def pieces(path: Path, rule: str = "identity", keep_blanks: bool = True) -> Path:
    """A SentencePiece model with bytes for what the vocabulary lacks."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT),
        model_writer=model,
        vocab_size=340,
        byte_fallback=True,
        hard_vocab_limit=False,
        normalization_rule_name=rule,
        remove_extra_whitespaces=not keep_blanks,
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())
    return path


def changed(path: Path, target: Path, **model: object) -> Path:
    """A copy of a tokenizer.json with other settings of its model."""
    content = json.loads(path.read_text())
    content["model"].update(model)
    target.write_text(json.dumps(content))
    return target
