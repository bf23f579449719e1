"""What the thesis measured: Pearson correlations, by which a run can be compared with it.

Drevicky & Kodym, BIOIMAGING 2020; their networks, ISBI 2015.
"""

import typing

SOURCE = 'Drevicky & Kodym, BIOIMAGING 2020; their networks, ISBI 2015'


class Correlations(typing.NamedTuple):
  """Of the uncertainty of one model.

  Attributes:
    model: its name there.
    measure: of uncertainty.
    error, error_under_trained: with the radial error, all landmarks pooled, of networks that were trained
      fully, or stopped early.
    elastic, rotation: of means, with the strength of a distortion and with the angle of a head.
  """

  model: str
  measure: str
  error: float
  error_under_trained: float
  elastic: float
  rotation: float


THESIS = {
    'baseline': Correlations('one network', 'mha', -0.13, -0.35, -0.95, -0.91),
    'ensemble': Correlations('ensemble', 'spread_mm', 0.31, 0.85, 0.81, 0.95),
    'mc_dropout': Correlations('MC dropout', 'spread_mm', 0.22, 0.86, 0.85, 0.88),
}


def figures(**names: str) -> list[dict]:
  """A row for each model: `measure`, `model`, `source`, and under each name given the figure it names."""
  return [{'measure': row.measure, 'model': row.model, 'source': SOURCE,
           **{name: getattr(row, figure) for name, figure in names.items()}} for row in THESIS.values()]
