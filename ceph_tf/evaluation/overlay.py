"""One predicted X-ray as a picture for the doctor: landmarks, regions, planes, a scale, and warnings.

It is drawn from the document that is written (`serving.prediction_schema`), so that picture and
numbers cannot differ.
"""

import math
import re

import cv2
import numpy as np

from ceph_tf.evaluation import label_places, plots
from ceph_tf.evaluation.alarms import DOUBTFUL_MM

DPI = 180
_LONG_IN, _NARROW_IN = 9.0, 5.6  # the longer side of the X-ray; at least so wide is the page
_BAND_IN, _FOOT_IN = 0.34, 0.8
_FONT = 9.0
# From certain to uncertain; brightness and hue both change, for the colour-blind and on gray.
_BINS = ('#4cc9f0', '#57e389', '#f9e04c', '#ff9f1c', '#ff4d6d')
_PLANE, _LINE = '#b9dcff', '#8fb4d6'
# Name, from, to, and whether it is drawn beyond its points, as a tracing does.
PLANES = (
    ('SN', 'sella', 'nasion', True), ('FH', 'porion', 'orbitale', True), ('PP', 'pns', 'ans', True),
    ('MP', 'gonion', 'menton', True), ('N-Pog', 'nasion', 'pogonion', False),
    ('N-A', 'nasion', 'subspinale', False), ('N-B', 'nasion', 'supramentale', False),
    ('Ar-Go', 'articulare', 'gonion', False))
_MEANING = ('SN sella-nasion, FH Frankfort (Po-Or), PP palatal (PNS-ANS), MP mandibular (Go-Me), '
            'thin: N-A, N-B, N-Pog, Ar-Go')
_BEYOND = 0.18  # of its length


def draw(gray: np.ndarray, document: dict):
  """The picture of an answered image.

  Args:
    gray: [h, w] float, the whole X-ray, any range.
    document: see `serving.prediction_schema`, with status ok.

  Returns:
    A matplotlib figure, for `plots.png(figure, DPI)`.
  """
  height, width = gray.shape
  banners = warnings(document)
  inch = _LONG_IN / max(height, width)
  page_width, head = max(width * inch, _NARROW_IN), _BAND_IN * (1 + len(banners))
  page_height = height * inch + head + _FOOT_IN
  figure = plots.Figure(figsize=(page_width, page_height), facecolor='black')
  axes = figure.add_axes(((page_width - width * inch) / 2 / page_width, _FOOT_IN / page_height,
                          width * inch / page_width, height * inch / page_height))
  _show(axes, gray, inch)
  points = np.array([landmark['point_px'] for landmark in document['landmarks']])
  names = [landmark['name'] for landmark in document['landmarks']]
  lines, taken = _planes(axes, dict(zip(names, points, strict=True)), (height, width), inch)
  scale_box = _scale_bar(axes, document['image']['spacing_mm'], (height, width), inch)
  extents = _regions(axes, document)
  _names(axes, document, points, extents, lines, [*taken, *scale_box], inch)
  _head(figure, document, banners, page_height)
  _foot(figure, document, page_height)
  return figure


def warnings(document: dict) -> list[tuple[str, str]]:
  """Colour and words of each banner: what the reader of the picture must know."""
  found = []
  referral, model = document['referral'], document['model']
  if referral['refer']:
    found += [('#b3002d', 'REFER: a doctor must check every point.'), ('#b3002d', referral['reason'])]
  if referral['refer'] is None:
    found.append(('#7a4b00', f'No referral policy: {_reason(model["refer"])}'))
  if not referral['refer'] and (far := doubtful(document)):
    found.append(('#7a4b00', f'Check: {", ".join(far)} (radius of the region above {DOUBTFUL_MM:g} mm).'))
  if not referral['refer'] and document['image']['spacing_mm'] is None:
    found.append(('#7a4b00', 'Landmarks are not checked: without a spacing nothing is known in mm.'))
  bare = without_region(document)
  if len(bare) == len(document['landmarks']):
    found.append(('#7a4b00', f'No regions: {_reason(model["regions"])}. '
                  'The accuracy of these points is unknown.'))
  elif bare and not referral['refer']:
    found.append(('#7a4b00', f'Not checked, for want of a region: {", ".join(bare)}.'))
  return found


def doubtful(document: dict) -> list[str]:
  """Short names and radii of landmarks whose region is larger than an error that all call gross."""
  return [f'{plots.short_name(landmark["name"])} {landmark["region"]["radius_mm"]:.1f} mm'
          for landmark in document['landmarks'] if is_doubtful(landmark['region'])]


def without_region(document: dict) -> list[str]:
  """Short names of the landmarks that have none."""
  return [plots.short_name(landmark['name']) for landmark in document['landmarks'] if not landmark['region']]


def is_doubtful(region: dict | None) -> bool | None:
  """Whether the circle of a landmark is that large; None where it or the spacing is unknown."""
  radius_mm = (region or {}).get('radius_mm')
  return None if radius_mm is None else radius_mm > DOUBTFUL_MM


def _reason(words: str) -> str:
  return words.removeprefix('absent: ')


def why(p_values: dict[str, float | None], rule: str) -> str:
  """Why an image is referred, in words.

  Args:
    p_values: of `fitted.ALARMS`.
    rule: of `fitted.summary`, which holds the level of each.
  """
  reasons = {'ood_p_value': 'unlike the calibration films (mirrored, inverted, cut?)',
             'uncertainty_p_value': 'less certain than on the calibration films'}
  raised = []
  for name, words in reasons.items():
    level = re.search(rf'{name} <= ([0-9.e-]+)', rule)
    if p_values[name] is not None and level and p_values[name] <= float(level[1]) + 1e-6:
      raised.append(f'{words}, p = {p_values[name]:.3f}')
  if not raised:
    return 'It cannot be compared with the calibration films.'
  joined = '; '.join(raised)
  return f'{joined[0].upper()}{joined[1:]}.'


def _show(axes, gray: np.ndarray, inch: float) -> None:
  height, width = gray.shape
  scale = min(1.0, inch * DPI)
  small = cv2.resize(gray, (max(1, round(width * scale)), max(1, round(height * scale))),
                     interpolation=cv2.INTER_AREA)
  low, high = np.percentile(small, (0.5, 99.5))
  axes.imshow(small, cmap='gray', vmin=low, vmax=max(high, low + 1e-6), interpolation='bilinear',
              extent=(-0.5, width - 0.5, height - 0.5, -0.5), aspect='auto')
  axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
  axes.spines[:].set_visible(False)


def _halo(width: float = 2.2):
  return [plots.patheffects.withStroke(linewidth=width, foreground='black')]


def _planes(axes, places: dict, size_hw: tuple[int, int], inch: float):
  """Draws them; points [K, 2] along the lines, and the boxes of their names."""
  along, boxes = [], []
  for name, start, end, beyond in PLANES:
    if start not in places or end not in places:
      continue
    a, b = places[start], places[end]
    reach = _BEYOND * (b - a) if beyond else 0
    a, b = a - reach, b + reach
    axes.plot(*np.stack([a, b]).T, color=_PLANE if beyond else _LINE, linewidth=1.0 if beyond else 0.7,
              alpha=0.8 if beyond else 0.7, dashes=(6, 3) if beyond else (2, 2), zorder=2)
    steps = min(400, 2 + int(np.linalg.norm(b - a) * inch / 0.05))
    along.append(a + np.linspace(0, 1, steps)[:, None] * (b - a))
    if beyond:
      boxes += _plane_name(axes, name, a, b, size_hw, inch)
  return np.concatenate(along) if along else np.zeros((0, 2)), boxes


def _plane_name(axes, name: str, a: np.ndarray, b: np.ndarray, size_hw: tuple[int, int], inch: float):
  """Writes it beyond the end at which there is room, preferably the back of the head."""
  half = np.array([0.5 * len(name) * 0.6, 0.6]) * _FONT / 72 / inch
  length = np.linalg.norm(b - a)
  if not length > 0:
    return []
  for end, way in ((a, a - b), (b, b - a)):
    centre = end + way / length * (half.max() * 1.2)
    if ((centre > half) & (centre < np.array(size_hw[::-1]) - half)).all():
      axes.text(*centre, name, color=_PLANE, fontsize=_FONT - 1, ha='center', va='center', style='italic',
                path_effects=_halo(), zorder=3)
      return [np.concatenate([centre, half])]
  return []


def _scale_bar(axes, spacing_mm: float | None, size_hw: tuple[int, int], inch: float) -> list[np.ndarray]:
  """A bar of a round length of about a fifth of the image; its box."""
  if spacing_mm is None:
    return []
  height, width = size_hw
  wanted = 0.22 * width * spacing_mm
  power = 10.0 ** math.floor(math.log10(wanted)) if wanted > 0 else 0.0
  if not (math.isfinite(power) and power > 0):
    return []
  length = power * max(k for k in (1, 2, 5) if k * power <= wanted * (1 + 1e-9))
  margin, long = 0.15 / inch, length / spacing_mm
  x, y = width - margin - long, height - margin
  left, right, top, bottom = x - margin / 2, x + long + margin / 2, y - 0.26 / inch, y + margin / 2
  axes.fill([left, right, right, left], [top, top, bottom, bottom], color='black', alpha=0.6, zorder=5.5)
  axes.plot([x, x + long], [y, y], color='white', linewidth=2.6, solid_capstyle='butt', zorder=6)
  axes.text(x + long / 2, y - 0.05 / inch, f'{length:g} mm', color='white', fontsize=_FONT, ha='center',
            va='bottom', path_effects=_halo(), zorder=6)
  return [np.array([x + long / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2])]


def bin_colour(number: int | None, bins: int | None) -> str:
  """From blue (the most certain) to red; one neutral colour where there are no bins."""
  if number is None or not bins:
    return plots.PREDICTED
  share = (min(max(number, 1), bins) - 1) / max(bins - 1, 1)
  return _BINS[round(share * (len(_BINS) - 1))]


def _regions(axes, document: dict) -> np.ndarray:
  """Draws the ellipses; half widths and heights [L, 2], 0 where there is none."""
  extents, bins = [], document['model']['bins']
  for landmark in document['landmarks']:
    extents.append((0.0, 0.0))
    if not landmark['region']:
      continue
    shape = landmark['region']['ellipse']
    colour = bin_colour(landmark['bin'], bins)
    long, short = shape['semi_axes_px']
    fills = () if document['referral']['refer'] else ((True, 0.16, 0),)  # large ones would hide the film
    for fill, alpha, line in (*fills, (False, 1, 1.3)):
      axes.add_patch(plots.Ellipse(landmark['point_px'], 2 * long, 2 * short, angle=shape['angle_deg'],
                                   fill=fill, alpha=alpha, color=colour, linewidth=line, zorder=4))
    extents[-1] = tuple(np.sqrt(np.maximum(np.diag(shape['matrix_px2']), 0)))
  return np.array(extents)


def _names(axes, document: dict, points: np.ndarray, extents: np.ndarray, lines: np.ndarray,
           taken: list[np.ndarray], inch: float) -> None:
  bins = document['model']['bins']
  colours = [bin_colour(landmark['bin'], bins) for landmark in document['landmarks']]
  axes.scatter(*points.T, s=11, c=colours, edgecolors='black', linewidths=0.6, zorder=5)
  names = [plots.short_name(landmark['name']) for landmark in document['landmarks']]
  letter = (0.7 * _FONT / 72 / inch, 1.25 * _FONT / 72 / inch)
  size = (axes.get_xlim()[1], axes.get_ylim()[0])
  centres, led = label_places.place(points, names, letter, size, extents, lines, np.reshape(taken, (-1, 4)))
  for point, centre, name, line in zip(points, centres, names, led, strict=True):
    if not np.isfinite(centre).all():
      continue
    if line:
      axes.plot(*np.stack([point, centre]).T, color='white', linewidth=0.6, alpha=0.8, zorder=4.5)
    axes.text(*centre, name, color='white', fontsize=_FONT, ha='center', va='center', weight='bold',
              path_effects=_halo(), zorder=7, parse_math=False)


def _head(figure, document: dict, banners: list[tuple[str, str]], page_height: float) -> None:
  width = figure.get_figwidth()
  model, image = document['model'], document['image']
  version = '' if model['version'] is None else f' version {model["version"]}'
  spacing = ('spacing unknown' if image['spacing_mm'] is None
             else f'{image["spacing_mm"]:.4g} mm per pixel')
  _text(figure, 0.1, page_height - _BAND_IN / 2, document['name'], width * 0.48, _FONT + 1, weight='bold')
  _text(figure, width - 0.1, page_height - _BAND_IN / 2, f'{model["name"]}{version};  {spacing}',
        width * 0.48, _FONT - 1.5, ha='right')
  for k, (colour, words) in enumerate(banners):
    top = page_height - _BAND_IN * (k + 1)
    band = figure.add_axes((0, (top - _BAND_IN) / page_height, 1, _BAND_IN / page_height), facecolor=colour)
    band.set(xticks=[], yticks=[])
    band.spines[:].set_visible(False)
    _text(figure, 0.1, top - _BAND_IN / 2, words, width - 0.2, _FONT, weight='bold')


def _foot(figure, document: dict, page_height: float) -> None:
  """The legend: colours of the bins, what the ellipses hold, the names of the planes."""
  model, width = document['model'], figure.get_figwidth()
  x, y = 0.1, _FOOT_IN - 0.18
  if any(landmark['region'] for landmark in document['landmarks']) and model['coverage']:
    share = f'{100 * model["coverage"]:g}'
    words = (f'ellipse: {share} % region, not valid for this X-ray' if document['referral']['refer'] else
             f'ellipse: meant to hold the true point with {share} %')
    _text(figure, x, y, words, 3.3, _FONT - 1)
    x += 3.15
  if model['bins'] and document['landmarks'][0]['bin'] is not None:
    _text(figure, x, y, 'certain', 0.6, _FONT - 1)
    x += 0.55
    for number in range(1, model['bins'] + 1):
      figure.text((x + 0.1) / width, y / page_height, str(number), color='black', fontsize=_FONT - 1.5,
                  ha='center', va='center', bbox={'facecolor': bin_colour(number, model['bins']),
                                                  'edgecolor': 'none', 'boxstyle': 'circle,pad=0.22'})
      x += 0.24
    _text(figure, x + 0.02, y, 'uncertain', 0.8, _FONT - 1)
    _text(figure, 0.1, 0.4, 'colours: each landmark beside the same one on other films, not the others here',
          width - 0.2, _FONT - 1.5)
  if {start for _, start, _, _ in PLANES} <= {landmark['name'] for landmark in document['landmarks']}:
    _text(figure, 0.1, 0.18, _MEANING, width - 0.2, _FONT - 2)


def _text(figure, x: float, y: float, words: str, room: float, size: float, ha: str = 'left',
          weight: str = 'normal') -> None:
  """One line at inches, smaller and at last cut where room is short; letters the font lacks are `?`."""
  words = ''.join(c if c.isprintable() and ord(c) < 0x250 else '?' for c in words)
  letter = 0.58 / 72  # width of a letter of size 1, on average
  size = max(5.0, min(size, room / (letter * max(len(words), 1))))
  most = int(room / (letter * size))
  words = words if len(words) <= most else words[:max(most - 3, 1)] + '...'
  figure.text(x / figure.get_figwidth(), y / figure.get_figheight(), words, color='white', fontsize=size,
              ha=ha, va='center', weight=weight, parse_math=False)

