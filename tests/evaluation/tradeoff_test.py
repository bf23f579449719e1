"""Cost and quality of models whose figures are made by hand."""

import cv2
import numpy as np
import pytest
from matplotlib.text import Text

from ceph_tf.evaluation import paired, tradeoff, tradeoff_plots
from ceph_tf.evaluation.evaluate import Cases


def cost(milliseconds=40.0, parameters=2_000_000):
  return {'networks': 1, 'parameters': parameters, 'training_minutes': 9.5,
          'milliseconds_per_image': milliseconds, 'milliseconds_range': [38.0, 44.0],
          'peak_memory_mib': 760.0}


def evaluation(mre_mm):
  return {'results': {'mean': {'official': {'images': 150, 'mre_mm': mre_mm, 'sdr_2mm': 0.8125}}}}


def measure(aurc_mm):
  return {'correlations': {'spearman_within': {'value': 0.25}},
          'selective': {'figures': {'auroc_2mm': 0.5, 'auroc_4mm': 0.875, 'aurc_mm': aurc_mm},
                        'intervals': {'aurc_mm': [aurc_mm - 0.125, aurc_mm + 0.125]}}}


def analysis(aurc_mm, nll_nats=None, unit='mm2'):
  # The best measure on the test set is another one than the one that all models are compared by.
  subset = {'best': 'mha', 'perfect_aurc_mm': 0.25,
            'measures': {'mha': measure(0.0), 'entropy_nats': measure(aurc_mm), 'spread_mm': measure(0.875)},
            'temperature': {'status': 'not_possible'} if nll_nats is None else {
                'status': 'computed', 'unit': unit, 'before': {'nll_nats': 4.0, 'ece': 0.5},
                'after': {'nll_nats': nll_nats, 'ece': 0.125}},
            'regions': {'status': 'computed',
                        'kinds': {'circle': {'radius_mean_mm': 2.25, 'coverage': 0.875}}}}
  return {'truth': 'mean', 'split': 'test1', 'config': {'gross_mm': [2.0, 4.0]},
          'subsets': {'official': subset}}


def stress():
  score = {'ood_score': {'auroc': 0.75}}
  return {'separation': {'elastic, 1 % of the height': {'scores': score},
                         'elastic, 4 % of the height': {'scores': {'ood_score': {'auroc': 1.0}}},
                         'rotation, 10 to 20 degrees': {'scores': {}}, 'noise': {'scores': score}}}


NO_CHANGE = {'separation': {}}
NOT_ONE = {figure: {'value': None, 'interval': [None, None]} for figure in paired.FIGURES}


def table(stresses=(NO_CHANGE,) * 3):
  names = ['baseline', 'ensemble', 'cheap']
  return tradeoff.tradeoff(
      names, [cost(), cost(200.0, 10_000_000), cost(60.0)], [evaluation(x) for x in (1.3, 1.2, 1.25)],
      [analysis(1.0, 3.5), analysis(0.5, 2.5), analysis(0.75, 2.75)], stresses,
      [NOT_ONE, NOT_ONE | {'sdr_2mm': {'value': 0.0125, 'interval': [-0.005, 0.03]},
                           'nll_nats': {'value': -0.75, 'interval': [-1.0, -0.5]}}])


def test_figures_are_those_of_one_measure_for_all_models():
  row = table()['models']['cheap']['subsets']['official']
  assert row == {'images': 150, 'mre_mm': 1.25, 'sdr_2mm': 0.8125, 'nll_nats': 2.75,
                 'nll_untempered_nats': 4.0, 'ece': 0.125, 'ece_untempered': 0.5,
                 'spearman_within': 0.25, 'auroc_gross': 0.875, 'aurc_mm': 0.75,
                 'aurc_interval_mm': [0.625, 0.875], 'excess_aurc_mm': 0.5,
                 'aurc_by_mm': {'spread_mm': 0.875, 'total_sd_mm': None},
                 'radius_mean_mm': 2.25, 'coverage': 0.875}


def test_a_likelihood_per_pixel_is_not_compared():
  found = tradeoff.tradeoff(['one'], [cost()], [evaluation(1.3)], [analysis(1.0, 3.5, 'heatmap pixel')],
                            [NO_CHANGE], [])
  assert found['models']['one']['subsets']['official']['nll_nats'] is None


def test_gain_is_the_share_of_what_the_ensemble_gains_over_the_baseline():
  gains = {name: model['gain'] for name, model in table()['models'].items()}
  assert gains['baseline'] == {'aurc_mm': 0, 'nll_nats': 0}
  assert gains['ensemble'] == {'aurc_mm': 1, 'nll_nats': 1}
  assert gains['cheap'] == {'aurc_mm': 0.5, 'nll_nats': 0.75}


@pytest.mark.parametrize('names', [['baseline', 'cheap'], ['ensemble', 'cheap']])
def test_without_baseline_or_ensemble_there_is_no_gain(names):
  found = tradeoff.tradeoff(names, [cost()] * 2, [evaluation(1.3)] * 2, [analysis(1.0)] * 2, [NO_CHANGE] * 2,
                            [NOT_ONE])
  assert found['models']['cheap']['gain'] == {'aurc_mm': None, 'nll_nats': None}


@pytest.mark.parametrize('spacing_mm', [0.5, np.nan])
def test_differences_are_in_mm_by_the_common_measure_and_of_tempered_heatmaps(spacing_mm):
  def cases(off_px, entropy, log_density):
    truth, none = np.zeros([2, 1, 2]), np.empty([2, 0])
    return Cases(
        image_id=('a', 'b'), patient_id=('1', '2'), split='test1', spacing_mm=np.full(2, spacing_mm),
        points_px=truth + off_px, samples_px=none, covariance_px2=none,
        measures={'entropy_nats': np.array(entropy)[:, None], 'mha': np.zeros([2, 1])},
        truths_px={'mean': truth}, landmark_names=('sella',), milliseconds_per_image=1.0,
        tempering={'temperature': np.ones([2, 1]), 'pixel_mm2': np.full(2, spacing_mm) ** 2,
                   'log_density': np.full([2, 1], log_density), 'log_density_before': np.zeros([2, 1])})

  apart = np.array([3.0, 6.0])[:, None, None] * [1, 0]
  models = [cases(apart, [2.0, 1.0], -3.0), cases(apart, [1.0, 2.0], -2.0)]
  found, = tradeoff.differences(models, 'mean', 0, 20)
  values = {figure: one['value'] for figure, one in found.items()}
  if np.isnan(spacing_mm):
    assert np.isnan(list(values.values())).all()
  else:
    assert values == {'mre_mm': 0, 'sdr_2mm': 0, 'nll_nats': -1, 'aurc_mm': -0.75, 'excess_aurc_mm': -0.75}


def test_an_ensemble_that_gains_nothing_makes_no_share():
  found = tradeoff.tradeoff(['baseline', 'ensemble'], [cost()] * 2, [evaluation(1.3)] * 2,
                            [analysis(0.5), analysis(0.5)], [NO_CHANGE] * 2, [NOT_ONE])
  assert found['models']['baseline']['gain']['aurc_mm'] is None


def test_ood_is_the_weakest_change_of_each_kind():
  models = table([stress(), NO_CHANGE, stress()])['models']
  assert models['baseline']['ood'] == {'elastic': 0.75, 'rotation': None}
  assert models['ensemble']['ood'] == {'elastic': None, 'rotation': None}


@pytest.mark.parametrize('cost,quality,kept', [
    ([1, 2, 3], [3, 2, 1], [0, 1, 2]),
    ([3, 2, 1], [1, 2, 3], [2, 1, 0]),
    ([1, 2, 3], [1, 2, 0.5], [0, 2]),
    ([1, 1, 2], [2, 1, 1], [1]),
    ([5], [7], [0]),
])
def test_frontier_by_hand(cost, quality, kept):
  assert tradeoff.frontier(cost, quality) == kept


def test_page_has_every_model_and_a_figure():
  found = table([stress()] * 3)
  pictures = tradeoff.charts(found)
  assert cv2.imdecode(np.frombuffer(pictures[0].png, np.uint8), cv2.IMREAD_COLOR).std() > 5
  page = tradeoff.render(found, pictures)
  for text in ('<td>cheap</td><td>1</td><td>2.00</td><td>9.5</td><td>60 (38 to 44)</td><td>760</td>',
               '<td>50.0</td><td>75.0</td>',
               '<td>4.00 / 2.75</td><td>50.0 / 12.5</td><td>0.25</td><td>0.88</td>',
               '<td>0.75 [0.62, 0.88]</td><td>0.50</td><td>0.88</td><td>–</td><td>2.25 / 87.5</td>',
               '<td>75.0</td><td>–</td>', '<h2>Differences to baseline</h2>',
               '<td>cheap</td><td>–</td><td>1.2 [-0.5, 3.0]</td><td>-0.750 [-1.000, -0.500]</td><td>–</td>'):
    assert text in page


@pytest.mark.parametrize('costs', [(8.7, 10.9), (70.0, 246.0), (1.0, 40.0)])
def test_an_axis_of_costs_has_numbers_however_narrow_it_is(costs):
  points = {'a': (costs[0], 1.0), 'b': (costs[1], 0.5)}
  figure = tradeoff_plots.panels([('ms', 'mm', points, list(points))])
  low, high = figure.axes[0].get_xlim()
  assert 2 <= sum(low <= tick <= high for tick in figure.axes[0].get_xticks()) <= 6


def test_unknown_figures_are_dashes():
  found = tradeoff.tradeoff(['one'], [cost()], [evaluation(None)],
                            [{'truth': 'mean', 'split': 'test1', 'status': 'not_possible'}], [NO_CHANGE], [])
  assert tradeoff.charts(found) == []
  page = tradeoff.render(found, [])
  assert '<td>one</td>' in page and 'Differences' not in page  # from what?


def test_names_of_models_that_cost_the_same_do_not_cover_each_other():
  points = {f'model_{k}': (2.0, 0.9 + 0.0001 * k) for k in range(6)} | {'far_off': (9.0, 0.95)}
  figure = tradeoff_plots.panels([('cost', 'quality', points, ['model_0', 'far_off'])] * 2)
  figure.draw_without_rendering()
  for axes in figure.axes:
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # without the line that leads to it
    assert [text.get_text() for text in axes.texts] == [name.replace('_', ' ') for name in points]
    shared = [one.intersection(one, other) for k, one in enumerate(boxes) for other in boxes[:k]]
    assert not [both for both in shared if both is not None and both.width * both.height > 4]
