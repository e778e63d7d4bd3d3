"""The pytest plugin that the driver loads into each run of Beam's tests.

It stands in for Beam's conftest.py, which the wheel doesn't have: it tells
TestPipeline of the endpoint. And it writes a line of JSON for each test that
begins or ends, so that the driver knows which one a process died in.
"""

import inspect
import json
import os
import unittest

import pytest
from apache_beam.testing.test_pipeline import TestPipeline

_results = open(os.environ['BEAM_RESULTS'], 'a', buffering=1)
_done = set(filter(None, os.environ.get('BEAM_DONE', '').split('\n')))


def _write(**fields):
  _results.write(json.dumps(fields) + '\n')


def pytest_addoption(parser):
  parser.addoption('--test-pipeline-options', default='')


def pytest_configure(config):
  TestPipeline.pytest_test_pipeline_options = config.getoption(
      'test_pipeline_options')
  config.addinivalue_line('markers', 'it_validatesrunner: Beam\'s own mark')


def short(nodeid):
  """x/portable_test.py::BatchTest::test_x -> suite/BatchTest.test_x"""
  return '%s/%s' % (
      os.environ['BEAM_SUITE'], '.'.join(nodeid.split('::')[1:]))


def pytest_pycollect_makeitem(collector, name, obj):
  """Undoes the decorator unittest.skip, with which Beam leaves tests out."""
  if not (inspect.isclass(obj) and issubclass(obj, unittest.TestCase)):
    return
  for cls in obj.__mro__:
    for attr, test in list(vars(cls).items()):
      if not attr.startswith('test'):
        continue
      while getattr(test, '__unittest_skip__', False) and hasattr(
          test, '__wrapped__'):
        test = test.__wrapped__
        setattr(cls, attr, test)


def pytest_collection_modifyitems(config, items):
  items[:] = [i for i in items if short(i.nodeid) not in _done]


def pytest_runtest_logstart(nodeid, location):
  _write(test=short(nodeid), outcome='running')


class _Outcome:
  reports = []


def pytest_runtest_logreport(report):
  _Outcome.reports.append(report)
  if report.when != 'teardown':
    return
  reports, _Outcome.reports = _Outcome.reports, []
  outcome, why = 'passed', ''
  for r in reports:
    if r.failed:
      outcome, why = 'failed', r.longreprtext
      break
    if r.skipped:
      outcome, why = 'skipped', r.longrepr[2] if r.longrepr else ''
  _write(
      test=short(report.nodeid),
      outcome=outcome,
      why=why,
      seconds=round(sum(r.duration for r in reports), 2))
