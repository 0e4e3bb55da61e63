"""A method of one's own: SIGReg (LeJEPA: Balestriero and LeCun 2025, arXiv:2511.08544). Copy this file, and write yours.

The views of an image agree with their mean, and what all images give looks like a standard normal cloud along random
directions. loss: z are the projections (views, images, dimensions), progress the share of the steps done, from 0 to 1.
With `predictor = True` it gets q as well, the predictions; with `target = True` t, those of an average of past weights.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class SIGReg:
    weight: float = 0.05  # of the normal cloud against the agreement
    directions: int = 64
    points: int = 17

    def loss(self, z, progress):
        agreement = (z - z.mean(0)).square().mean()
        return self.weight * self.normality(z) + (1 - self.weight) * agreement

    def normality(self, z):
        """Epps and Pulley's test: the characteristic function along each direction against a standard normal's."""
        along = torch.nn.functional.normalize(torch.randn(z.shape[2], self.directions, device=z.device), dim=0)
        t = torch.linspace(-5, 5, self.points, device=z.device)
        angles = (z @ along)[..., None] * t  # (views, images, directions, points)
        normal = torch.exp(-t.square() / 2)
        distance = (angles.cos().mean(1) - normal).square() + angles.sin().mean(1).square()
        return z.shape[1] * torch.trapezoid(distance * normal, t).mean()
