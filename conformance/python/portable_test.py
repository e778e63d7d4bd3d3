"""Beam's tests of portable runners, on the endpoint that the driver names.

The SDK optimizes combines itself in batch and sends the graph as it is in
streaming, so both are tested.
"""

import os

import apache_beam as beam
from apache_beam.options.pipeline_options import DebugOptions
from apache_beam.options.pipeline_options import PortableOptions
from apache_beam.options.pipeline_options import StandardOptions
from apache_beam.portability.api import beam_job_api_pb2
from apache_beam.runners import runner
from apache_beam.runners.portability import portable_runner
from apache_beam.runners.portability import portable_runner_test
from apache_beam.runners.portability.fn_api_runner import fn_runner_test


class DrainingRunner(portable_runner.PortableRunner):
  """Drains a job as soon as it runs, long before its worker has started.

  What tests call a pipeline with is_drain is one whose restrictions are all
  truncated before anything is read of them.
  """
  def run_portable_pipeline(self, pipeline, options):
    result = super().run_portable_pipeline(pipeline, options)
    result._job_service.Drain(
        beam_job_api_pb2.DrainJobRequest(job_id=result._job_id))
    wait = result.wait_until_finish

    def wait_until_drained():
      try:
        return wait()
      except RuntimeError:
        # The SDK takes every end but DONE for a failure.
        if result._state != runner.PipelineState.DRAINED:
          raise
        return result._state

    result.wait_until_finish = wait_until_drained
    return result


class BatchTest(portable_runner_test.PortableRunnerTest):
  streaming = False

  @classmethod
  def _create_job_endpoint(cls):
    return os.environ['BEAM_ENDPOINT']

  def create_options(self):
    options = super().create_options()
    options.view_as(PortableOptions).environment_type = 'LOOPBACK'
    options.view_as(DebugOptions).add_experiment(
        'disable_logging_submission_environment')
    options.view_as(StandardOptions).streaming = self.streaming
    return options

  def create_pipeline(self, is_drain=False):
    return beam.Pipeline(
        DrainingRunner() if is_drain else self.get_runner(),
        self.create_options())

  # Beam leaves this kind of metric out unless a runner's tests ask for it.
  def test_metrics(self):
    super().test_metrics(check_bounded_trie=True)


def undo_skips(cls):
  """Gives cls the tests that PortableRunnerTest overrides with a skip.

  Those are there for runners that can't do it. The decorator skip is undone by
  the plugin, for all suites.
  """
  upstream = fn_runner_test.FnApiRunnerTest
  for name in dir(upstream):
    if name.startswith('test') and name not in vars(cls):
      setattr(cls, name, getattr(upstream, name))


undo_skips(BatchTest)


class StreamingTest(BatchTest):
  streaming = True


