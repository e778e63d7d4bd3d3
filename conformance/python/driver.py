"""Runs Beam's Python tests against a served Summerbeam, or any endpoint.

  run.sh                                   all suites
  run.sh --suite portable --run test_sdf   some of them
  run.sh --endpoint localhost:8073         a runner that somebody else started

The last line says how many tests passed, failed and were skipped. The exit code
is 1 if a test fails that expected.txt doesn't list, or one passes that it does.
"""

import argparse
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.path.join(HERE, '..', '..', '.cache', 'conformance', 'python')
EXPECTED = os.path.join(HERE, 'expected.txt')

VALIDATES_RUNNER = [
    '-m',
    'it_validatesrunner',
    '--pyargs',
    *(
        'apache_beam.' + m for m in (
            'metrics.metric_test',
            'pipeline_test',
            'runners.portability.fn_api_runner.translations_test',
            'transforms.combinefn_lifecycle_test',
            'transforms.combiners_test',
            'transforms.deduplicate_test',
            'transforms.dofn_lifecycle_test',
            'transforms.ptransform_test',
            'transforms.sideinputs_test',
            'transforms.util_test',
        )),
]

# Suites: arguments for pytest. Those whose name ends in -streaming run with the
# option --streaming, for which the SDK optimizes less and some tests ask.
SUITES = {
    'portable': [os.path.join(HERE, 'portable_test.py')],
    'validatesrunner': VALIDATES_RUNNER,
    # RunInference's test asks for streaming itself.
    'validatesrunner-streaming': VALIDATES_RUNNER +
                                 ['apache_beam.ml.inference.base_test'],
    # Strict expects that panes reach a stage before what the TestStream sends to
    # it later, Weak doesn't.
    'transcripts': [
        '-k',
        'TestStreamTranscriptTest and not Base',
        '--pyargs',
        'apache_beam.transforms.trigger_test',
    ],
}


@dataclasses.dataclass
class Result:
  test: str
  outcome: str
  why: str = ''
  seconds: float = 0


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('--endpoint', help='of a runner that is already running')
  parser.add_argument('--summerbeam', default='bin/summerbeam')
  parser.add_argument('--store', default='pebble')
  parser.add_argument('--suite', help='comma-separated: ' + ', '.join(SUITES))
  parser.add_argument('--run', help='only tests whose name matches this expression')
  parser.add_argument('--timeout', type=int, default=60, help='seconds for a test')
  parser.add_argument('--json', help='file to write all results to')
  args = parser.parse_args()
  suites = args.suite.split(',') if args.suite else list(SUITES)

  os.makedirs(CACHE, exist_ok=True)
  # A terminated driver must still end its server.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
  server = None
  endpoint = args.endpoint
  try:
    if not endpoint:
      server, endpoint = start_server(args)
    results = []
    for suite in suites:
      results += run_suite(suite, endpoint, args)
  finally:
    if server:
      server.send_signal(signal.SIGTERM)
      try:
        server.wait(10)
      except subprocess.TimeoutExpired:
        server.kill()
  if args.json:
    with open(args.json, 'w') as f:
      json.dump([dataclasses.asdict(r) for r in results], f, indent=1)
  complete = not args.run and not args.suite
  sys.exit(0 if report(results, complete, bool(args.endpoint)) else 1)


def start_server(args):
  """Starts Summerbeam on a free port, with a data directory of its own."""
  if not os.path.exists(args.summerbeam):
    sys.exit('no server to test at %s: run `make build`' % args.summerbeam)
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    port = s.getsockname()[1]
  data = os.path.join(CACHE, 'data')
  subprocess.run(['rm', '-rf', data], check=True)
  with open(os.path.join(CACHE, 'server.log'), 'w') as log:
    server = subprocess.Popen(
        [
            args.summerbeam,
            'serve',
            '--port=%d' % port,
            '--store=' + args.store,
            '--data_dir=' + data
        ],
        stdout=log,
        stderr=log)
  for _ in range(200):
    try:
      socket.create_connection(('127.0.0.1', port)).close()
      return server, '127.0.0.1:%d' % port
    except OSError:
      time.sleep(0.1)
    if server.poll() is not None:
      break
  server.kill()
  sys.exit('the server does not accept connections: see %s' % log.name)


def run_suite(suite, endpoint, args):
  """Runs pytest until every test of the suite has an outcome.

  A test that hangs is interrupted by its timeout. One that takes the process with
  it counts as failed, and the rest runs in the next process.
  """
  done = {}
  lines = os.path.join(CACHE, suite + '.jsonl')
  if os.path.exists(lines):
    os.remove(lines)
  seen = 0
  while True:
    env = dict(
        os.environ,
        BEAM_ENDPOINT=endpoint,
        BEAM_RESULTS=lines,
        BEAM_SUITE=suite,
        BEAM_DONE='\n'.join(done),
        GRPC_ENABLE_FORK_SUPPORT='false',
        PYTHONPATH=HERE)
    command = [
        sys.executable,
        '-m',
        'pytest',
        '-p',
        'plugin',
        '-p',
        'no:cacheprovider',
        '--rootdir=' + CACHE,
        '--tb=native',
        '--timeout=%d' % args.timeout,
        '--timeout-method=signal',
        '--test-pipeline-options=--runner=PortableRunner --job_endpoint=%s'
        ' --environment_type=LOOPBACK --job_server_timeout=%d'
        ' --experiments=disable_logging_submission_environment%s' % (
            endpoint, 2 * args.timeout,
            ' --streaming' if suite.endswith('-streaming') else ''),
        *SUITES[suite],
    ]
    if args.run:
      # The last -k is the one that counts.
      own = SUITES[suite][1] if '-k' in SUITES[suite] else ''
      command += ['-k', '(%s) and (%s)' % (own, args.run) if own else args.run]
    with open(os.path.join(CACHE, suite + '.log'), 'a' if done else 'w') as log:
      process = subprocess.Popen(
          command, env=env, stdout=log, stderr=log, start_new_session=True)
      try:
        # The deadline is for what a signal in Python can't interrupt.
        stuck = False
        while process.poll() is None:
          time.sleep(0.5)
          n, last = tail(lines, done)
          if n != seen:
            seen, since = n, time.monotonic()
          elif n and time.monotonic() - since > args.timeout + 30:
            stuck = True
            break
      finally:
        try:
          os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
          pass
        process.wait()
    _, last = tail(lines, done)
    if last is None:
      break
    why = 'hangs, and no signal ends it' if stuck else 'the process died in it'
    done[last] = Result(last, 'failed', why)
    print_result(done[last])
  if not done and not args.run:
    sys.exit('%s ran no test: see %s' % (suite, log.name))
  return list(done.values())


def tail(lines, done):
  """Reads new results into done; returns the number of lines and what runs now."""
  running, n = None, 0
  if not os.path.exists(lines):
    return 0, None
  with open(lines) as f:
    for line in f:
      if not line.endswith('\n'):
        break
      n += 1
      fields = json.loads(line)
      running = None
      if fields['test'] in done:
        continue
      if fields['outcome'] == 'running':
        running = fields['test']
        continue
      done[fields['test']] = Result(**fields)
      print_result(done[fields['test']])
  return n, running


def print_result(r):
  if r.outcome == 'skipped':
    print('--- SKIP %s: %s' % (r.test, r.why))
  elif r.outcome == 'failed':
    print('--- FAIL %s (%.1f s)' % (r.test, r.seconds))
    for line in r.why.strip().splitlines()[-30:]:
      print('    ' + line)
  sys.stdout.flush()


def report(results, complete, elsewhere):
  """Prints the totals; returns whether all is as expected."""
  expected = {}
  with open(EXPECTED) as f:
    for line in f:
      if line.strip() and not line.startswith('#'):
        test, _, reason = line.strip().partition(' ')
        if not reason:
          sys.exit('%s: no reason for %s' % (EXPECTED, test))
        expected[test] = reason
  surprises = []
  for r in results:
    if r.outcome == 'failed' and r.test not in expected:
      surprises.append('%s failed and is not expected to' % r.test)
    if r.outcome != 'failed' and r.test in expected:
      surprises.append(
          '%s %s and is expected to fail: take it off the list' %
          (r.test, r.outcome))
  if complete:
    for test in sorted(expected.keys() - {r.test for r in results}):
      surprises.append('%s is expected to fail, but there is no such test' % test)
  if elsewhere:
    # The list is ours; of another runner it says nothing.
    surprises = [r.test for r in results if r.outcome == 'failed']
  if surprises:
    print('\nNot as expected:')
    for s in sorted(surprises):
      print('  ' + s)
  groups = {}
  for r in results:
    c = groups.setdefault(r.test.partition('.')[0], {})
    c[r.outcome] = c.get(r.outcome, 0) + 1
  print()
  for group, c in sorted(groups.items()):
    print(
        '%-60s %3d passed %3d failed %3d skipped' % (
            group, c.get('passed', 0), c.get('failed', 0), c.get('skipped', 0)))
  total = lambda o: sum(r.outcome == o for r in results)
  print(
      '\n%d passed, %d failed, %d skipped' %
      (total('passed'), total('failed'), total('skipped')))
  return not surprises


if __name__ == '__main__':
  main()
