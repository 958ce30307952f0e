"""Networks under other names of their layers."""

from __future__ import annotations

from pivotal.formats.bundle import bundle_keys
from pivotal.formats.network_file import hashed_bytes, read_network
from pivotal.tools.keys import converted
from pivotal.tools.results import Report, path_of, refuse_existing, write
from pivotal.tools.settings import ConvertKeys


def convert_keys(settings: ConvertKeys) -> Report:
    """The same numbers under other names, in the file's own precision.

    Raises:
        FormatError: it cannot be read, a layer is unknown, or the style has no place for its method; the result exists.
    """
    source, target = path_of("source", settings.source), path_of("target", settings.target, ".safetensors")
    refuse_existing(target, settings.replace)
    file = read_network(source)
    tensors = converted(file, settings.style)
    text = f"{len(file.layers)} layers under the names of {settings.style}."
    if settings.style == "diffusers" and file.embeddings:
        text += f" Left out {', '.join(file.embeddings)}: diffusers reads no bundles; split them off as files."
    elif settings.style != "diffusers":
        for word, vectors in file.embeddings.items():
            tensors |= bundle_keys(word, vectors)
    metadata = {key: value for key, value in file.metadata.items() if not key.startswith("modelspec.hash")}
    if settings.style == "diffusers":
        metadata |= {"format": "pt"}  # without it diffusers' and transformers' readers refuse the file
        metadata.pop("lora_adapter_metadata", None)  # alpha is folded in
    return Report(write({target: hashed_bytes(tensors, metadata)}, settings.replace), text)
