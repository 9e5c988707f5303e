"""An adversarial term, off unless it has a weight: a discriminator learns to tell photos from reconstructions, and the
decoder learns to mislead it.

Discriminator, hinge losses, LeCam regularisation and their numbers are those of TiTok's authors
(github.com/bytedance/1d-tokenizer). Axes: B images, 3 x S x S pixels.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stscq.checkpoint import prefixed, without_prefix
from stscq.parallel import averaged
from stscq.training.batches import generator
from stscq.training.optimiser import Optimiser

LECAM, DECAY = 0.001, 0.999
"""Weight of the regularisation; how slowly the mean logits that it compares with follow."""
GRID = 16
"""Places of a picture that the discriminator decides on, S / 8 pixels being one at S = 128: GRID x GRID."""

Against = Callable[[dict[str, Tensor], Tensor, Tensor], dict[str, Tensor]]
"""(named terms, reconstructions, images) -> named terms with the adversarial one, and a larger `loss`."""


class Blur(nn.Module):
    """Half the size: every second place of a picture blurred by 1, 3, 3, 1 in both directions."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        line = torch.tensor([1.0, 3.0, 3.0, 1.0])
        self.register_buffer("kernel", (line[:, None] * line / line.sum() ** 2)[None, None])

    def forward(self, x: Tensor) -> Tensor:
        """B x C x h x w -> B x C x ceil(h / 2) x ceil(w / 2)."""
        C, h, w = x.shape[1:]
        padded = F.pad(x, (1, 1 + w % 2, 1, 1 + h % 2))
        return F.conv2d(padded, self.kernel.expand(C, 1, 4, 4), stride=2, groups=C)


class Discriminator(nn.Module):
    """B x 3 x S x S in [0, 1] -> B x 1 x 16 x 16 logits, positive where a place looks like a photo's."""

    def __init__(self, channels: int = 128, stages: int = 3):
        super().__init__()
        widths = [channels, *(channels << stage for stage in range(stages))]
        self.block_in = nn.Sequential(nn.Conv2d(3, channels, 5, padding=2), nn.LeakyReLU(0.1))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), Blur(), nn.GroupNorm(32, b), nn.LeakyReLU(0.1))
            for a, b in pairwise(widths)
        )
        self.pool = nn.AdaptiveMaxPool2d((GRID, GRID))
        self.to_logits = nn.Sequential(
            nn.Conv2d(widths[-1], widths[-1], 1), nn.LeakyReLU(0.1), nn.Conv2d(widths[-1], 1, 5, padding=2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.block_in(x)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.to_logits(self.pool(x))
        return logits


def hinge_loss(real: Tensor, reconstructed: Tensor) -> Tensor:
    """The discriminator's, from its logits (any shape): photos above 1, reconstructions below -1."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + reconstructed).mean())


def lecam_loss(real: Tensor, reconstructed: Tensor, past_real: Tensor, past_reconstructed: Tensor) -> Tensor:
    """Of mean logits (scalars): those of photos are not to run away from those that reconstructions had, nor the other
    way round (Tseng et al. 2021)."""
    return F.relu(real - past_reconstructed).square() + F.relu(past_real - reconstructed).square()


class Adversary(nn.Module):
    """Whom the decoder learns to mislead: a discriminator with its optimiser. An unfinished run keeps both."""

    past_real: Tensor
    past_reconstructed: Tensor

    def __init__(
        self,
        weight: float,
        start: int,
        channels: int,
        seed: int,
        weight_decay: float,
        accumulate: int,
        device: torch.device,
    ):
        """weight: of the decoder's term, from step `start` on; accumulate: batches that a step sees."""
        super().__init__()
        self.weight, self.start, self.accumulate = weight, start, accumulate
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(seed, "adversary", 0).initial_seed())
            self.discriminator = Discriminator(channels)
        self.register_buffer("past_real", torch.zeros(()))
        self.register_buffer("past_reconstructed", torch.zeros(()))
        self.to(device)
        self.optimiser = Optimiser(self.discriminator, 0.0, weight_decay, "fp32")

    def add(self, terms: dict[str, Tensor], reconstruction: Tensor, images: Tensor, step: int) -> dict[str, Tensor]:
        """The decoder's term and the discriminator's own, and `loss` with the former; before START what was given.

        Adds the gradients of the discriminator's loss to its weights, which `step` moves.
        """
        if step < self.start:
            return terms
        reconstruction, images = reconstruction.float(), images.float()
        self.discriminator.requires_grad_(False)
        mislead = -self.discriminator(reconstruction).mean()
        self.discriminator.requires_grad_(True)
        own = self.own_loss(images, reconstruction.detach())
        (own / self.accumulate).backward()  # type: ignore[no-untyped-call]
        loss = terms["loss"] + self.weight * mislead
        return {**terms, "loss": loss, "adversarial": mislead, "discriminator": own.detach()}

    def own_loss(self, images: Tensor, reconstruction: Tensor) -> Tensor:
        real, reconstructed = self.discriminator(images), self.discriminator(reconstruction)
        means = averaged(real.mean()), averaged(reconstructed.mean())
        loss = hinge_loss(real, reconstructed) + LECAM * lecam_loss(*means, self.past_real, self.past_reconstructed)
        with torch.no_grad():
            self.past_real.lerp_(means[0], 1 - DECAY)
            self.past_reconstructed.lerp_(means[1], 1 - DECAY)
        return loss

    def step(self, lr: float) -> None:
        """Move the discriminator's weights, at the rate of the decoder."""
        self.optimiser.set_rate(lr)
        self.optimiser.step()

    def tensors(self) -> dict[str, Tensor]:
        return {**prefixed("module", self.state_dict()), **prefixed("optimiser", self.optimiser.tensors())}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        self.load_state_dict(without_prefix("module", tensors))
        self.optimiser.restore(without_prefix("optimiser", tensors))


def chosen_adversary(
    weight: float, start: int, channels: int, seed: int, weight_decay: float, accumulate: int, device: torch.device
) -> Adversary | None:
    """A stage's; None where its term has no weight."""
    return Adversary(weight, start, channels, seed, weight_decay, accumulate, device) if weight else None
