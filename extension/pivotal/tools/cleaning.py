"""Room on the disk: encoded images and captions that runs keep, and that they can make again."""

from __future__ import annotations

from pivotal.errors import FormatError
from pivotal.formats.kept_files import clean, size_words
from pivotal.tools.results import Report, path_of
from pivotal.tools.settings import CleanCache

KINDS = ("latents", "text")  # folders in that of the cache


def clean_cache(settings: CleanCache) -> Report:
    """Deletes what was not used for long, or what is too much.

    Raises:
        FormatError: there is no such folder, or it holds no encoded images.
    """
    folder = path_of("folder", settings.folder)
    if not folder.is_dir():
        raise FormatError(f"{folder} is no folder; give that of the cache, as scratch/cache.")
    done = clean([folder, *(folder / name for name in KINDS)], days=settings.older_than, gb=settings.keep_gb)
    if not done.removed and not done.kept:
        raise FormatError(f"{folder} holds no encoded images or captions; a run with a cache on disk tells where they are.")
    return Report((), f"{done.removed} encoded images and captions deleted, {size_words(done.freed)}; {done.kept} stay, "
                      f"{size_words(done.size)}. Those used within the last hour always stay.")
