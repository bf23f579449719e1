"""The table of several models on contents of evaluation, analysis and stress made by hand."""

import json

import pytest

from ceph_tf.evaluation import compare

SPACING = {'min': 0.1, 'max': 0.1}


def evaluation(mre_mm=1.25, spacing=SPACING):
  figures = {'images': 150, 'mre_mm': mre_mm, 'sdr_2mm': 0.8125}
  return {'results': {'senior': {'official': figures, 'leak_free': figures | {'images': 140}}},
          'spacing_mm': spacing}


def measure(pearson):
  return {'correlations': {'pearson_pooled': {'value': pearson}, 'spearman_within': {'value': 0.375}},
          'selective': {'figures': {'auroc_2mm': 0.625, 'auroc_4mm': 0.9375, 'aurc_mm': 0.6875,
                                    'refer_20pct_sdr_2mm': 0.885}}}


def analysis(pearson=0.41, mre_mm=1.25, best='mha'):
  circle = {'coverage': 0.915, 'radius_mean_mm': 3.21}
  subset = {'mre_mm': mre_mm, 'best': best, 'measures': {'mha': measure(pearson)},
            'regions': {'status': 'computed', 'kinds': {'circle': circle}}}
  return {'status': 'computed', 'truth': 'senior', 'split': 'test1', 'config': {'gross_mm': [2.0, 4.0]},
          'subsets': {'official': subset, 'leak_free': subset}}


def stress(elastic=-0.97, rotation=-0.52):
  return {'elastic': {'measures': {'mha': {'pearson': elastic}}},
          'rotation': {'measures': {'mha': {'pearson': rotation}, 'ood_score': {'pearson': 0.77}}}}


NOT_POSSIBLE = {'status': 'not_possible', 'truth': 'senior', 'split': 'test1'}


def run(under_trained=None, names=('baseline',), **changed):
  given = {'evaluations': evaluation(), 'analyses': analysis(), 'stresses': stress(),
           'under_trained': under_trained or analysis(-0.66, mre_mm=5.75)} | changed
  return compare.compare(list(names), *([one] * len(names) for one in given.values()), 6.0)


def test_correlations_of_four_experiments_by_hand():
  found = run()
  model = found['models']['baseline']
  assert model['measure'] == 'mha'
  assert model['correlations'] == {
      'error': 0.41, 'error_under_trained': -0.66, 'elastic': -0.97, 'rotation': -0.52}
  assert model['published'] == {
      'error': -0.13, 'error_under_trained': -0.35, 'elastic': -0.95, 'rotation': -0.91}
  assert model['under_trained_mre_mm'] == 5.75
  assert model['all_measures']['ood_score'] == {
      'error': None, 'error_under_trained': None, 'elastic': None, 'rotation': 0.77}
  assert list(model['all_measures']) == ['mha', 'ood_score']
  assert (found['truth'], found['split'], found['under_trained_mm']) == ('senior', 'test1', 6)


def test_figures_of_the_test_set_by_hand():
  subsets = run()['models']['baseline']['subsets']
  assert subsets['official'] == {
      'images': 150, 'mre_mm': 1.25, 'sdr_2mm': 0.8125, 'best': 'mha', 'spearman_within': 0.375,
      'auroc_gross': 0.9375, 'aurc_mm': 0.6875, 'sdr_2mm_kept80': 0.885, 'coverage': 0.915,
      'radius_mean_mm': 3.21}
  assert subsets['leak_free']['images'] == 140


def test_without_a_best_measure_or_regions_their_figures_are_absent():
  subset = run(analyses=analysis(best=None))['models']['baseline']['subsets']['official']
  assert subset == {'images': 150, 'mre_mm': 1.25, 'sdr_2mm': 0.8125}
  without = analysis()
  without['subsets']['official'] |= {'regions': {'status': 'not_possible'}}
  subset = run(analyses=without)['models']['baseline']['subsets']['official']
  assert subset['aurc_mm'] == 0.6875 and 'coverage' not in subset


@pytest.mark.parametrize('name, measured', [('mc_dropout', 'spread_mm'), ('ensemble', 'spread_mm')])
def test_models_with_samples_are_judged_by_their_spread(name, measured):
  model = run(names=[name])['models'][name]
  assert model['measure'] == measured and set(model['correlations'].values()) == {None}
  assert run(names=['baseline', name])['models'].keys() == {'baseline', name}


def test_the_page_shows_measured_numbers_and_published_ones_in_brackets():
  page = compare.render(json.loads(json.dumps(run(), allow_nan=False)))
  for cell in ('0.41 (-0.13)', '-0.66 (-0.35)', '-0.97 (-0.95)', '-0.52 (-0.91)', '5.75', '81.2', '0.69',
               '0.94', '88.5', '91.5', '3.21', 'leak-free', 'MHA', '0.77'):
    assert f'<td>{cell}</td>' in page, cell
  assert 'spacing 0.1 mm' in page and 'validation MRE of 6 mm' in page


def test_the_spacing_is_a_range_or_unknown():
  assert 'spacing 0.1 to 0.25 mm' in compare.render(
      run(evaluations=evaluation(spacing={'min': 0.1, 'max': 0.25})))
  assert 'unknown spacing' in compare.render(run(evaluations=evaluation(spacing=None)))


def test_what_the_page_is_told_is_escaped():
  found = run()
  found |= {'split': '<b>test</b>', 'truth': 'a & b', 'models': {'<i>': found['models']['baseline']}}
  page = compare.render(found)
  assert '<b>test</b>' not in page and '&lt;b&gt;test&lt;/b&gt;' in page and 'a &amp; b' in page
  assert '<td><i></td>' not in page and '<td>&lt;i&gt;</td>' in page


def test_an_under_trained_model_that_cannot_be_analysed_is_a_dash():
  found = run(under_trained=NOT_POSSIBLE)
  model = found['models']['baseline']
  assert model['correlations']['error_under_trained'] is None and model['under_trained_mre_mm'] is None
  page = compare.render(found)
  assert '<td>– (-0.35)</td>' in page and '<td>–</td>' in page


def test_a_model_that_cannot_be_analysed_has_no_figures_of_subsets():
  found = run(analyses=NOT_POSSIBLE)
  model = found['models']['baseline']
  assert model['subsets'] == {} and model['correlations']['error'] is None
  assert '<td>– (-0.13)</td>' in compare.render(found)
