"""comparer: several models in one table, beside what the thesis published."""

from ceph_tf.evaluation import compare
from pipelines.artifacts import Comparison, Evaluation, StressAnalysis, UncertaintyAnalysis
from pipelines.dsl import In, Out, component


@component
def comparer(evaluations: In[list[Evaluation]], analyses: In[list[UncertaintyAnalysis]],
             stresses: In[list[StressAnalysis]], under_trained: In[list[UncertaintyAnalysis]],
             comparison: Out[Comparison], *, models: str, under_trained_mm: float):
  """Writes `comparison.json` (see `ceph_tf.evaluation.compare`) and `comparison.html`.

  Args:
    evaluations, analyses, stresses: of the fully trained models.
    under_trained: the analyses of the same models, their training stopped early.
    comparison: the table.
    models: their names, joined with '|'.
    under_trained_mm: where training stopped.
  """
  found = compare.compare(
      models.split('|'), *([one.read() for one in many]
                           for many in (evaluations, analyses, stresses, under_trained)),
      under_trained_mm)
  comparison.write(found)
  (comparison.path / 'comparison.html').write_text(compare.render(found), 'utf-8')
