"""From a checked plan and a lent model to a session that can step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from pivotal.config.sections.cache import Cache
from pivotal.config.train import TrainConfig
from pivotal.data.captions import Captions
from pivotal.data.latent_cache import Disk, Memory
from pivotal.data.opening import open_store
from pivotal.data.versions import StoreSettings
from pivotal.errors import OptionError
from pivotal.events import Emit, Noticed, Phase
from pivotal.formats.kept_files import clean, size_words
from pivotal.jobs.batches import DatasetBatches
from pivotal.jobs.checks.plan import Plan
from pivotal.jobs.dataset_plan import order_of, views_of
from pivotal.jobs.trainees import Trainees
from pivotal.models.checkpointing import checkpoint_model
from pivotal.models.diffusion import DiffusionModel
from pivotal.models.schedule import overridden
from pivotal.training.denoise import Untrained
from pivotal.training.ema import decay_of
from pivotal.training.optimizers import make_steppers
from pivotal.training.precision import compute_dtype, vae_for, with_bf16, with_fp32
from pivotal.training.ranks import Ranks
from pivotal.training.session import Session
from pivotal.training.settings import Settings


def make_batches(captions: Captions, config: TrainConfig, model: DiffusionModel, placeholders: Mapping[str, int],
                 scratch: Path, *, emit: Emit, stopped: Callable[[], bool],
                 memory: Memory | None = None, ranks: Ranks | None = None) -> DatasetBatches | None:
    """Batches over the images of `captions`, encoded as far as they are to be cached; None when stopped meanwhile.

    Args:
        placeholders: placeholder -> number of vectors.
        scratch: folder under which encoded images may be kept.
        memory: holds them where they are cached in memory; given again, nothing is encoded twice.
        ranks: processes that train together, of which each encodes its share; None: this one encodes all.
    """
    def progress(done: int, of: int) -> None:
        emit(Phase("caching", done, of))

    views = views_of(captions, config, model.resolution)
    store = open_store(model, captions.items, views, store_settings(config, captions), latents_folder(scratch), progress=progress,
                       stopped=stopped, memory=memory, company=ranks)
    if store is None:
        return None
    if isinstance(store.shelf, Disk):
        days = config.cache.keep_days
        until = f"until none used them for {days} days" if days else "until you delete them"
        kept = (f"The encoded images take {size_words(store.shelf.size())}" if config.cache.when == "before"
                else "Encoded images are kept")
        emit(Noticed(f"{kept} in {store.shelf.folder}; later runs find them there, {until}.", "cache.latents"))
    return DatasetBatches(store, captions, order_of(views, config), seed=config.seed, tokenizer=model.tokenizer,
                          comma_backtrack=model.comma_backtrack,
                          placeholders=placeholders, rules=config.caption)


def store_settings(config: TrainConfig, captions: Captions) -> StoreSettings:
    """How the images of `captions` become latents."""
    return StoreSettings(config.seed, config.cache, config.augment, config.mask.source, config.mask.crop, config.mask.round_parts,
                         tuple(concept.augment for concept in captions.concepts))


def latents_folder(scratch: Path) -> Path:
    """Where encoded images are kept for later runs."""
    return scratch / "cache" / "latents"


def text_folder(scratch: Path) -> Path:
    """Where answers of the text encoders are kept for later runs."""
    return scratch / "cache" / "text"


def make_room(cache: Cache, scratch: Path, in_use: Collection[Path]) -> Noticed | None:
    """Deletes encoded images and captions of other runs as `cache` says; what is to be told of it.

    Args:
        in_use: files of this run.
    """
    folders = (latents_folder(scratch), text_folder(scratch))
    done = clean(folders, days=cache.keep_days, gb=cache.keep_gb, in_use=in_use)
    if not done.removed:
        return None
    return Noticed(f"{done.removed} encoded images and captions of earlier runs, {size_words(done.freed)}, were not used for "
                   f"long and are deleted from {scratch / 'cache'}; {size_words(done.size)} stay.", "cache.keep_days")


_SWITCH = {"as the host": None, "on": True, "off": False}


def make_session(plan: Plan, model: DiffusionModel, trainees: Trainees, batches: DatasetBatches,
                 lifted: Callable[[], AbstractContextManager[None]], ranks: Ranks,
                 scratch: Path | None = None) -> Session:
    """The session of `plan`, at its beginning or where it was left.

    Args:
        lifted: takes the networks off while it lasts.
        ranks: the processes that train together.
        scratch: folder under which answers of the text encoders may be kept; None: only in memory.
    """
    config = plan.config
    before = {name: tuple(tensor.detach().clone() for tensor in tensors) for name, tensors in trainees.vectors().items()}
    ema_decay = decay_of(config.optimizer.ema_decay, config.optimizer.ema_half_life,
                         config.batch.size * config.batch.accumulation)
    settings = Settings(config.seed, config.length.steps, config.batch.accumulation,
                        compute_dtype(config.precision.compute, model.device, model.dtype), config.loss, config.noise,
                        config.timesteps, config.optimizer.clip_norm, ema_decay, config.mask,
                        minutes=config.length.minutes, tf32=_SWITCH[config.precision.tf32],
                        keep_best=config.measure.restore_best,
                        cache_text=config.cache.text != "off",
                        text_folder=text_folder(scratch) if scratch and config.cache.text == "disk" else None,
                        pad_captions=config.caption.padding, guard=config.guard, performance=config.performance)
    session = Session(model, trainees.parts, batches, make_steppers(config.optimizer, trainees.parts), settings,
                      Untrained(before, lifted), [item.path.name for item in plan.captions.items], ranks)
    if plan.state is not None:
        session.restore(plan.state.facts, plan.state.tensors)
    return session


def prepare_model(lent: DiffusionModel, config: TrainConfig) -> DiffusionModel:
    """The lent model with what the run asks of it; the host's `borrow` takes it back.

    Raises:
        OptionError: the checkpoint cannot be trained so.
    """
    objective = config.objective
    model = overridden(lent, prediction=None if objective.prediction == "auto" else objective.prediction,
                       zero_terminal_snr={"auto": None, "on": True, "off": False}[objective.zero_terminal_snr],
                       clip_skip=objective.clip_skip)
    if objective.zero_terminal_snr == "on" and model.prediction == "epsilon":
        raise OptionError({"objective.zero_terminal_snr": "this checkpoint predicts epsilon, which cannot be learned from "
                                                          "pure noise; take off or auto"})
    if config.loss.v_like and model.prediction == "v":
        raise OptionError({"loss.v_like": "this checkpoint predicts velocity already; set it to 0"})
    if config.loss.scale_v and model.prediction == "epsilon":
        raise OptionError({"loss.scale_v": "this checkpoint predicts noise already; switch it off"})
    if config.precision.gradient_checkpointing:
        checkpoint_model(model)
    model = with_fp32(model, config.precision.compute)
    if not config.sharing.let_prompts_through:  # they are drawn with the lent UNet, by a host that knows its format
        model = with_bf16(model, config.precision.compute)
    return vae_for(model, config.precision.vae)
