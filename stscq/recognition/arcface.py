"""The additive angular margin of ArcFace (Deng et al., 2019, Eq. 3). Axes: B images, P people, E embedding length."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ArcFaceHead(nn.Module):
    """Cross-entropy over s cos(theta + m for the right person); needed for training only."""

    def __init__(self, people: int, embedding: int, scale: float, margin: float):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(people, embedding) * 0.01)
        self.scale, self.margin = scale, margin

    def forward(self, embeddings: Tensor, person: Tensor) -> Tensor:
        """embeddings B x E (any length), person B (int64 in [0, P)) -> mean loss."""
        cosine = F.normalize(embeddings) @ F.normalize(self.weight).T
        theta = cosine.clamp(-1 + 1e-6, 1 - 1e-6).acos()
        right = F.one_hot(person, cosine.shape[1]).bool()
        # Beyond pi the cosine would turn again: stop the angle there.
        logits = torch.where(right, (theta + self.margin).clamp(max=torch.pi).cos(), cosine)
        return F.cross_entropy(self.scale * logits, person)
