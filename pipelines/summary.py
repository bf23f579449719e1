"""What a run prints at its end: the figures, and where everything is."""

from collections.abc import Iterable, Iterator

from pipelines.artifacts import Artifact, Evaluation


def lines(artifacts: Iterable[Artifact]) -> Iterator[str]:
  """Lines for people about the artifacts of a run, those they want to open.

  Args:
    artifacts: of a whole run, in the order in which they were made.
  """
  artifacts = list(artifacts)
  for artifact in artifacts:
    if isinstance(artifact, Evaluation):
      yield from figures(artifact.read())
  for artifact in artifacts:
    if shown := artifact.shown():
      label, place = shown
      yield f'{label + ":":18}{place}'


def figures(evaluation: dict) -> Iterator[str]:
  """The headline figures of an `evaluation.json`: one line per truth and subset."""
  yield f'{evaluation["title"]}: {evaluation["images"]} images of {evaluation["split"]}'
  for truth, subsets in evaluation['results'].items():
    for subset, result in subsets.items():
      where = f'  against {truth}, {subset.replace("_", "-")} ({result["images"]} images): '
      if result['mre_mm'] is None:
        yield f'{where}MRE {result["mre_px"]:.1f} px (no spacing is known)'
        continue
      low, high = result['intervals']['mre_mm']
      yield (f'{where}MRE {result["mre_mm"]:.2f} mm [{low:.2f}, {high:.2f}], '
             f'SDR 2 mm {100 * result["sdr_2mm"]:.1f} %')
