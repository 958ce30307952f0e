"""The embeddings in a network's file: taken out as files, added, removed, renamed; and embeddings converted.

What is not touched stays as it is, to the bit and under its own names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from pivotal.errors import FormatError, OptionError
from pivotal.formats.bundle import PREFIX, bundle_keys, split_bundle_key, word_problem
from pivotal.formats.embedding_file import SECOND, bundled_words, encoders_in, read_embedding
from pivotal.formats.embedding_writing import embedding_files
from pivotal.formats.network_family import family_by_words
from pivotal.formats.network_file import family_of_network, hashed_bytes, read_network
from pivotal.formats.reading import read_safetensors
from pivotal.tools.results import Report, path_of, refuse_existing, write
from pivotal.tools.settings import AddToBundle, ConvertEmbedding, RemoveFromBundle, RenameInBundle, SplitBundle

SUFFIX = ".safetensors"
_UNSAFE = '<>:"/\\|?*'  # in a file's name, on one system or another
_EMBEDDINGS = (".safetensors", ".pt", ".bin", ".png", ".webp")


def convert_embedding(settings: ConvertEmbedding) -> Report:
    """One embedding in another format.

    Raises:
        FormatError: it cannot be read, the format has no place for it, or the result exists.
    """
    source, target = path_of("source", settings.source), path_of("target", settings.target)
    word = target.stem if target.suffix.lower() in _EMBEDDINGS else target.name
    name = settings.name.strip() or None
    vectors = read_embedding(source, encoders_in(source, name), name)
    made = embedding_files(word, vectors, settings.style)
    files = write({target.with_name(word + ending): data for ending, data in made.items()}, settings.replace)
    return Report(files, f"{_described(word, vectors)}.")


def split_bundle(settings: SplitBundle) -> Report:
    """Every embedding that is bundled in a network as a file of its own; the network stays as it is.

    Raises:
        FormatError: there is none; or a file exists.
    """
    source = path_of("source", settings.source)
    embeddings = read_network(source).embeddings
    if not embeddings:
        raise FormatError(f"{source.name} has no embeddings bundled in it.")
    folder = path_of("folder", settings.folder) if settings.folder.strip() else source.with_name(f"{source.stem}_embeddings")
    made: dict[Path, bytes] = {}
    for word, vectors in embeddings.items():
        stem = "".join("_" if letter in _UNSAFE or not letter.isprintable() else letter for letter in word).strip(" .") or "_"
        for ending, data in embedding_files(word, vectors, settings.style).items():
            path = folder / f"{stem}{ending}"
            if path.name.lower() in {other.name.lower() for other in made}:  # Windows and macOS know no capitals
                raise FormatError(f"{source.name}: two of its words would both be written to {path.name}; rename one of them "
                                  "first.")
            made[path] = data
    said = ", ".join(_described(word, vectors) for word, vectors in embeddings.items())
    return Report(write(made, settings.replace), f"{said}. The word in a prompt is the file's name.")


def add_to_bundle(settings: AddToBundle) -> Report:
    """A network with more embeddings in it.

    Raises:
        OptionError: no file was given.
        FormatError: a word is there already, or breaks the file; an embedding is of another family.
    """
    source, target, tensors, metadata = _opened(settings.source, settings.target, settings.replace)
    if not settings.embeddings:
        raise OptionError({"embeddings": "needs one embedding file or more"})
    family = family_of_network(read_network(source))
    encoders = None if family is None else 2 if family == "sdxl" else 1
    added = {}
    for text in settings.embeddings:
        word, path = _named(text)
        if word in added or word in bundled_words(source):
            raise FormatError(f"{source.name} already has an embedding {word}; remove or rename it first.")
        added[word] = read_embedding(path, encoders or encoders_in(path))
        tensors |= bundle_keys(word, added[word])
    others = family_by_words(added)
    if family and others and family != others:
        raise FormatError(f"{source.name} is for {family}, the embeddings are for {others}; they do not fit together.")
    if len({tuple(tensor.shape[1] for tensor in vectors) for vectors in added.values()}) > 1:
        raise FormatError("The embeddings have vectors of different widths; they are not of one family.")
    said = ", ".join(_described(word, vectors) for word, vectors in added.items())
    return _written(target, tensors, metadata, settings.replace, f"Added {said}.")


def remove_from_bundle(settings: RemoveFromBundle) -> Report:
    """A network without some or all of its embeddings.

    Raises:
        FormatError: there is no such word.
    """
    source, target, tensors, metadata = _opened(settings.source, settings.target, settings.replace)
    words = settings.words or tuple(bundled_words(source))
    _refuse_unknown(source, words)
    kept = {key: tensor for key, tensor in tensors.items() if (split_bundle_key(key) or ("", ""))[0] not in words}
    if not kept:
        raise FormatError(f"{source.name} holds nothing but these embeddings; nothing would be left.")
    return _written(target, kept, metadata, settings.replace, f"Removed {', '.join(words)}.")


def rename_in_bundle(settings: RenameInBundle) -> Report:
    """A network whose embedding has another word.

    Raises:
        OptionError: the new word cannot be one.
        FormatError: there is no such word, or the new one is taken.
    """
    source, target, tensors, metadata = _opened(settings.source, settings.target, settings.replace)
    problem = word_problem(settings.new_word)
    if problem:
        raise OptionError({"new_word": problem})
    _refuse_unknown(source, (settings.word,))
    if settings.new_word in bundled_words(source):
        raise FormatError(f"{source.name} already has an embedding {settings.new_word}.")
    renamed = {}
    for key, tensor in tensors.items():
        word = split_bundle_key(key)
        is_it = word is not None and word[0] == settings.word
        renamed[f"{PREFIX}{settings.new_word}.{word[1]}" if word and is_it else key] = tensor
    said = f"{settings.word} is now {settings.new_word}."
    return _written(target, renamed, metadata, settings.replace, said)


def _opened(source: str, target: str, replace: bool) -> tuple[Path, Path, dict[str, Tensor], dict[str, str]]:
    here, there = path_of("source", source), path_of("target", target, SUFFIX)
    refuse_existing(there, replace)
    read_network(here)  # says in words what is wrong with it
    if here.suffix.lower() != SUFFIX:
        raise FormatError(f"{here.name}: bundles are in .safetensors files only; convert its keys first.")
    return here, there, *read_safetensors(here)


def _written(target: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], replace: bool, text: str) -> Report:
    kept = {key: value for key, value in metadata.items() if not key.startswith("modelspec.hash")}
    if "ss_output_name" in kept:
        kept["ss_output_name"] = target.stem  # two files with one alias: AUTOMATIC1111 forbids it for both
    return Report(write({target: hashed_bytes(tensors, kept)}, replace), text)


def _named(text: str) -> tuple[str, Path]:
    """``word=file``, or a file whose name is the word."""
    word, equals, rest = text.partition("=")
    if equals and not Path(text).exists():
        return word.strip(), path_of("embeddings", rest)
    path = path_of("embeddings", text)
    return path.stem.removesuffix(SECOND) if path.is_file() else path.name, path


def _refuse_unknown(source: Path, words: Sequence[str]) -> None:
    there = bundled_words(source)
    missing = [word for word in words if word not in there]
    if missing or not words:
        raise FormatError(f"{source.name} has no embedding {', '.join(map(repr, missing))} bundled in it; it has "
                          f"{', '.join(there) or 'none'}.")


def _described(word: str, vectors: Sequence[Tensor]) -> str:
    count = len(vectors[0])
    return f"{word} ({count} vector{'s' if count > 1 else ''} of width {' + '.join(str(tensor.shape[1]) for tensor in vectors)})"
