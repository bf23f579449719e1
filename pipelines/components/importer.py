"""importer: a SavedModel that was made elsewhere enters the pipeline, to be judged on new examples."""

import pathlib
import shutil

from ceph_tf.data import examples as example_files
from ceph_tf.data.records import DataError
from ceph_tf.serving import saved_model as pushed_model
from pipelines import digests
from pipelines.artifacts import Examples, ServableModel
from pipelines.dsl import In, Out, component


def _content(saved_model: str) -> str:
  return digests.tree_digest(pathlib.Path(saved_model))


@component(external=_content)
def importer(examples: In[Examples], servable: Out[ServableModel], *, saved_model: str):
  """Copies the SavedModel, so that what is judged stays what it was.

  Args:
    examples: that it will be asked about.
    servable: the copy.
    saved_model: the folder with `saved_model.pb`.

  Raises:
    DataError: it cannot be loaded, is none of ours, or knows other landmarks than the examples.
  """
  folder = pathlib.Path(saved_model)
  wanted = example_files.read_schema(examples.path)['landmark_names']
  knows = pushed_model.load(folder).landmarks
  if list(knows) != wanted:
    raise DataError(f'{folder} finds {len(knows)} landmarks ({", ".join(knows[:3])}, ...), the examples have '
                    f'{len(wanted)} ({", ".join(wanted[:3])}, ...); they must be the same in the same order')
  shutil.copytree(folder, servable.saved_model)
