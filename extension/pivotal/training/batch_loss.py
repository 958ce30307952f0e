"""The loss of a batch: noise on it, a prediction, how far it is off, and how much that counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pivotal.config.sections.loss import Loss
from pivotal.models.devices import sent
from pivotal.training.batch import Batch
from pivotal.training.denoise import Denoiser
from pivotal.training.loss import losses, weights
from pivotal.training.masks import mask_of, masked_means
from pivotal.training.noise import draw_noise, offset_shares, perturbed
from pivotal.training.objective import add_noise, target
from pivotal.training.seeds import generator
from pivotal.training.settings import Settings
from pivotal.training.timesteps import draw_timesteps

_SQUARED = Loss()  # plain squared errors, as measurements are


@dataclass(frozen=True)
class BatchLoss:
    """A batch's loss, and what is told of each of its images."""

    value: Tensor  # () what is learned from, weights and all
    errors: Tensor  # (B,) of each image without weights, detached
    timesteps: Tensor  # (B,)


class Losses:
    """Losses of one run's batches; a pure function of the batch, its position and what is trained so far."""

    def __init__(self, denoiser: Denoiser, settings: Settings):
        self.denoiser, self.settings = denoiser, settings
        self._alphas = denoiser.model.alphas_cumprod.to(denoiser.model.device)
        self._offset_shares = offset_shares(self._alphas) if settings.noise.offset_by_timestep else None

    def of(self, batch: Batch, position: int) -> BatchLoss:
        """The loss of `batch`, which begins after `position` images of the run."""
        settings, model = self.settings, self.denoiser.model
        timesteps = draw_timesteps(len(batch.latents), len(self._alphas), settings.timesteps,
                                   generator(settings.seed, "timesteps", position))
        noises = generator(settings.seed, "noise", position)
        shares = None if self._offset_shares is None else self._offset_shares[timesteps]
        noise = draw_noise(batch.latents, settings.noise, noises, shares)
        seen = perturbed(noise, settings.noise.input_perturbation, noises)
        counts = weights(timesteps, model.alphas_cumprod, model.prediction, settings.loss)
        if batch.weights is not None:
            counts = counts * batch.weights
        masks = mask_of(batch.masks, settings.mask, settings.seed, position)
        timesteps = sent(timesteps, model.device)
        errors = self._errors(batch, noise, seen, timesteps, masks)
        counted = errors * sent(counts, model.device)
        return BatchLoss(counted.mean(), errors.detach(), timesteps)

    def measured(self, batch: Batch, noise: Tensor, timesteps: Tensor) -> Tensor:
        """(B,) squared error of the prediction for `batch` at `timesteps`, with `noise`: within its masks, no weights."""
        noisy, wanted = self._noisy(batch, noise, noise, timesteps)
        errors = losses(self.denoiser.predict(batch, noisy, timesteps), wanted, timesteps, self._alphas, _SQUARED)
        masks = None if self.settings.mask.source == "off" or batch.masks is None else batch.masks.float().to(errors.device)
        return masked_means(errors, masks, normalize=True)

    def _errors(self, batch: Batch, noise: Tensor, seen: Tensor, timesteps: Tensor, masks: Tensor | None) -> Tensor:
        """(B,) error of each image, masks and priors included."""
        settings, mask = self.settings, self.settings.mask
        noisy, wanted = self._noisy(batch, noise, seen, timesteps)
        held = None if masks is None or not mask.prior_weight else 1 - masks  # what the mask leaves out
        rows = _prior_rows(batch, held)
        masks, held = (None if share is None else sent(share, noisy.device) for share in (masks, held))
        if rows.any():  # before the prediction that is learned from: then there is room for both
            before = torch.zeros_like(wanted)
            places = (sent(rows.nonzero().flatten(), wanted.device),)  # by bools the device would have to count them first
            before.index_put_(places, self.denoiser.without(batch, rows, noisy, timesteps).to(wanted.dtype))
            if batch.prior is not None:
                wanted = torch.where(sent(batch.prior, wanted.device).view(-1, 1, 1, 1), before, wanted)
        predicted = self.denoiser.predict(batch, noisy, timesteps)
        errors = masked_means(losses(predicted, wanted, timesteps, self._alphas, settings.loss), masks, mask.normalize)
        if held is not None and rows.any():
            away = losses(predicted, before, timesteps, self._alphas, settings.loss)
            errors = errors + mask.prior_weight * masked_means(away, held, mask.normalize)
        return errors

    def _noisy(self, batch: Batch, noise: Tensor, seen: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """The latents under the noise `seen`, and what the model should answer for `noise`."""
        model = self.denoiser.model
        latents, noise, seen = (sent(tensor, model.device) for tensor in (batch.latents, noise, seen))
        return (add_noise(latents, seen, self._alphas, timesteps),
                target(model.prediction, latents, noise, self._alphas, timesteps))


def _prior_rows(batch: Batch, held: Tensor | None) -> Tensor:
    """(B,) bools on the CPU: the images for which the model's answer before the run is needed."""
    rows = torch.zeros(len(batch.latents), dtype=torch.bool)
    if batch.prior is not None:
        rows |= batch.prior
    if held is not None:
        rows |= (held > 0).flatten(1).any(dim=1)
    return rows
