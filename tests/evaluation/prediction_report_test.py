"""The page: everything in it, nothing from outside, no name taken for HTML."""

import html.parser
import io
import re

import cv2
import numpy as np
import pytest

from ceph_tf.evaluation import prediction_report

PNG = cv2.imencode('.png', np.zeros((1500, 40, 3), np.uint8))[1].tobytes()
MODEL = {'name': 'm <1>', 'version': 2, 'lineage_sha256': None, 'coverage': 0.9, 'regions': 'stated',
         'refer': 'p <= 0.05'}
EVIL = '<script>alert(1)</script>&"\''


def document(**changes):
  found = {'value': 80.0, 'unit': 'deg', 'low': 78.0, 'high': 83.0, 'normal': [79.4, 83.2],
           'finding': 'cannot be decided'}
  return {'file': EVIL, 'name': EVIL, 'status': 'ok', 'reason': None,
          'image': {'spacing_mm': 0.5, 'spacing_origin': EVIL},
          'referral': {'refer': True, 'reason': f'Why {EVIL}', 'ood_score': None, 'ood_p_value': 0.25,
                       'uncertainty_p_value': 1.0},
          'landmarks': [{'name': EVIL, 'point_px': [1.0, 2.0], 'region': {'radius_px': 5.0}, 'bin': 3},
                        {'name': 'sella', 'point_px': [1.0, 2.0], 'region': None, 'bin': None}],
          'measurements': {
              'SNA': found, 'MW': found | dict.fromkeys(('value', 'low', 'high')) | {'unit': 'mm'}},
          **changes}


def page(*entries):
  file = io.StringIO()
  made = prediction_report.Page(file, MODEL, '2026-01-01')
  for entry, png in entries:
    made.add(entry, png)
  made.end(len(entries), 1, 1, 3)
  return file.getvalue()


REFUSED = document(status='damaged', reason=f'cut {EVIL}', landmarks=[], measurements={})


@pytest.mark.parametrize('entry', [(document(), PNG), (REFUSED, None)])
def test_nothing_is_taken_for_html_and_nothing_comes_from_outside(entry):
  text = page(entry)
  tags = set()
  parser = html.parser.HTMLParser()
  parser.handle_starttag = lambda tag, attributes: tags.add(tag) or [
      pytest.fail(value) for name, value in attributes
      if name in ('src', 'href') and not value.startswith('data:')]
  parser.feed(text)
  assert 'script' not in tags and 'script' in html.unescape(text)
  assert text.startswith('<!DOCTYPE html>') and text.endswith('</body></html>\n')
  assert '<h1>Landmarks by m &lt;1&gt;, version 2</h1>' in text


def test_what_is_known_is_in_it():
  text = page((document(), PNG), (REFUSED, None))
  cells = re.findall('<td>(.*?)</td>', text)
  for cell in ('80.0\u00b0', '78.0 to 83.0', '79.4 to 83.2', 'cannot be decided', '2.50', '\u2013'):
    assert cell in cells, cell
  assert 'hold the true point with 90 %' in text and 'refer: a doctor must check' in text
  assert '0.5 mm per pixel' in text and '>refused<' in text
  assert cells[-10:] == ['read', '2', 'answered', '1', 'refused', '1', 'referred', '1',
                         'not referred, with landmarks to check', '3']


def test_an_image_with_landmarks_that_cannot_be_checked_is_no_good_news():
  held = document()['landmarks'][:1]
  for landmarks, css, words in ((held, 'yes', 'not referred'), (
      document()['landmarks'], 'no', 'not referred; not checked, for want of a region: S')):
    entry = document(landmarks=landmarks, referral=document()['referral'] | {'refer': False})
    assert f'<span class="verdict {css}">{words}</span>' in page((entry, PNG))


def test_pictures_are_reduced():
  import base64
  data = re.search('data:image/jpeg;base64,([^"]+)', page((document(), PNG))).group(1)
  picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
  assert picture.shape[0] == prediction_report.PICTURE_PX
