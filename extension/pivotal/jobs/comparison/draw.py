"""The images of a comparison, drawn with files on a lent model as the embedded host draws a prompt that names them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from PIL import Image
from torch import Tensor

from pivotal.errors import FormatError
from pivotal.formats.embedding_file import read_embedding
from pivotal.hosts.embedded.library import EmbeddingFolder
from pivotal.hosts.embedded.lora import LoraFile, LoraFolder, Wish, applied, read_lora
from pivotal.hosts.embedded.prompt_tags import TAG, LoraTag, take_tags
from pivotal.hosts.embedded.txt2img import Txt2Img, infotext, used_names
from pivotal.hosts.protocol import Folders
from pivotal.jobs.comparison.plan import WORD, Column, words_in
from pivotal.jobs.comparison.saves import Save
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.generate import conditioning_for, generate, negative_for


@dataclass(frozen=True)
class Cell:
    """One image of a comparison."""

    image: Image.Image
    parameters: str  # as A1111 writes and reads them: the same prompt there gives the same image


class Drawing:
    """Draws on a lent model, which is as before after each image.

    Args:
        compared: the saves of all rows; a tag of one of them in a prompt makes way for the row's own, and the row without any
            does not know their words, which the embeddings folder may have.
    """

    def __init__(self, model: DiffusionModel, folders: Folders, checkpoint: str, compared: Sequence[Save]):
        self._model, self._checkpoint = model, checkpoint
        self._loras = LoraFolder(folders.loras)
        self._embeddings = EmbeddingFolder(folders.embeddings).scan(model.widths)
        self._compared = {save.network.stem for save in compared if save.network}
        words = {word for save in compared for word in save.embeddings}
        self._without = {word: values for word, values in self._embeddings.vectors.items() if word not in words}
        self._read: tuple[Save, LoraFile | None, dict[str, Sequence[Tensor]]] | None = None
        self.notices: list[str] = []  # each once

    def draw(self, save: Save, column: Column, should_stop: Callable[[], bool]) -> Cell | None:
        """One image; None when stopped meanwhile.

        Raises:
            FormatError: a file of the save cannot be used.
        """
        network, own = self._files(save)
        strength = 1.0 if column.strength is None else column.strength
        words = words_in(save) or tuple(own)
        text, negative = (self._filled(part, words) for part in (column.prompt, column.negative))
        prompt, tags, told = take_tags(text)
        wishes = [*([(network, strength, strength)] if network else []), *self._others(tags)]
        vectors = {word: values for file, _, _ in wishes for word, values in file.embeddings.items()}
        vectors |= {**(self._embeddings.vectors if save.files else self._without), **own}
        settings, side = column.settings, self._model.resolution
        settings = replace(settings, width=settings.width or side, height=settings.height or side)
        with applied(self._model, wishes, self._loras.made(self._model, wishes)) as misfits:
            self._tell([*told, *misfits])
            drawn = generate(self._model, conditioning_for(self._model, prompt, vectors),
                             negative_for(self._model, take_tags(negative)[0], vectors), settings, should_stop=should_stop)
        if not drawn:
            return None
        tagged = f"<lora:{save.network.stem}:{strength:g}> {text}" if save.network else text
        paths = {**self._embeddings.paths, **save.embeddings}
        used = {name: paths[name] for name in used_names(f"{prompt}\n{negative}", self._model, vectors) if name in paths}
        return Cell(drawn[0], infotext(Txt2Img(tagged, negative, settings), self._checkpoint, used))

    def _others(self, tags: Sequence[LoraTag]) -> list[Wish]:
        """The LoRAs that the prompt itself names."""
        found = []
        for tag in tags:
            path = self._loras.find(tag.name)
            if path is None:
                self._tell([f"There is no LoRA {tag.name!r} in {self._loras.folder}."])
            else:
                found.append((read_lora(path, self._model.widths), tag.te, tag.unet))
        return found

    def _files(self, save: Save) -> tuple[LoraFile | None, dict[str, Sequence[Tensor]]]:
        """The network and the words of a save, read once for all images of its row."""
        if self._read is None or self._read[0] != save:
            widths = self._model.widths
            network = read_lora(save.network, widths) if save.network else None
            own: dict[str, Sequence[Tensor]] = dict(network.embeddings) if network else {}
            self._tell(network.notices if network else ())
            for word in own.keys() & self._embeddings.paths.keys():
                self._tell([f"{word}: drawn with what each file has of it; in a prompt, the embeddings folder's "
                            f"{self._embeddings.paths[word].name} goes before a network's own."])
            for word, path in save.embeddings.items():
                own[word] = read_embedding(path, len(widths))
                if tuple(tensor.shape[1] for tensor in own[word]) != widths:
                    raise FormatError(f"{path.name} does not fit this checkpoint: it is for one of another family.")
            self._read = (save, network, own)
        return self._read[1], self._read[2]

    def _filled(self, text: str, words: Sequence[str]) -> str:
        """`text` with the save's words, and without tags of what is compared."""
        def keep(found: re.Match[str]) -> str:
            return "" if found[1] == "lora" and found[2].partition(":")[0].strip() in self._compared else found[0]

        return TAG.sub(keep, text).replace(WORD, " ".join(words)).strip()

    def _tell(self, sentences: Sequence[str]) -> None:
        self.notices.extend(sentence for sentence in sentences if sentence not in self.notices)
