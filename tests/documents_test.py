"""Links in the documents lead somewhere."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENTS = [*ROOT.glob('*.md'), *(path for folder in ('saved_models', 'benchmarks', 'docs')
                                   for path in (ROOT / folder).rglob('*.md'))]


def anchor(heading):
  """Of a heading, as GitHub makes it."""
  return re.sub(r'[^\w\- ]', '', heading.strip().lower()).replace(' ', '-')


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(path):
  for target in re.findall(r'\]\(([^)\s]+)\)', path.read_text('utf-8')):
    if re.match(r'[a-z]+:', target):
      continue
    name, _, heading = target.partition('#')
    there = path.parent / name if name else path
    assert there.exists(), target
    if heading:
      headings = re.findall(r'^#+ (.+)$', there.read_text('utf-8'), re.MULTILINE)
      assert heading in map(anchor, headings), target
