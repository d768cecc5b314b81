// Shared by all scenarios: how the gateway is asked, what an answer must be, and how a run is summed up.
//
// loadtest/run.sh tells them where everything is; DURATION, RATE and VUS may be set to run longer or harder.

import http from 'k6/http';
import { check } from 'k6';

export const edge = __ENV.EDGE;
export const key = __ENV.KEY;

export const setting = (name, fallback) => __ENV[name] || fallback;
export const number = (name, fallback) => Number(setting(name, fallback));

const body = (tokens, stream, prompt) =>
  JSON.stringify({
    model: 'gpt-4o-mini',
    max_tokens: tokens,
    messages: [{ role: 'user', content: prompt }],
    ...(stream ? { stream: true } : {}),
  });

// What goes into http.post and http.asyncRequest.
export const request = ({ tokens = 50, stream = false, prompt = 'Say something.', as = key, tags = {} } = {}) => [
  `${edge}/v1/chat/completions`,
  body(tokens, stream, prompt),
  {
    headers: { authorization: `Bearer ${as}`, 'content-type': 'application/json' },
    tags: { name: stream ? 'stream' : 'plain', ...tags },
    timeout: '60s',
  },
];

export const ask = (options) => http.post(...request(options));

// Whether an answer is whole: of a stream its end was seen, of a plain one its figures.
export const whole = (answer, stream) =>
  answer.status === 200 && (stream ? answer.body.endsWith('data: [DONE]\n\n') : answer.json('usage.total_tokens') > 0);

export const asked = (options = {}) => {
  const answer = ask(options);
  check(answer, {
    'answered whole': (it) => whole(it, options.stream),
    'has a request id': (it) => Boolean(it.headers['X-Request-Id']),
  });
  return answer;
};

// Whether an answer is this refusal, in the caller's dialect.
export const refused = (answer, status, code) => answer.status === status && answer.json('error.code') === code;

// Thresholds that hold in every scenario.
export const thresholds = { checks: ['rate==1'], http_req_failed: ['rate==0'] };

// An export of each scenario: figures as JSON and text, where run.sh says, and the text on the screen.
export const summary = (name) => (data) => {
  const lines = [`${name}: ${(data.state.testRunDurationMs / 1000).toFixed(1)} s`];
  let missed = 0;
  for (const [metric, { type, contains, values, thresholds = {} }] of Object.entries(data.metrics).sort()) {
    const shown = type === 'trend' ? ['med', 'p(95)', 'p(99)', 'max'] : Object.keys(values);
    const unit = contains === 'time' ? ' ms' : '';
    const figures = shown.filter((it) => it in values).map((it) => `${it} ${Number(values[it].toFixed(3))}${unit}`);
    if (/^(http_req_(duration|waiting|failed)|http_reqs|checks|dropped_iterations|vus_max)/.test(metric) || contains !== 'time' || Object.keys(thresholds).length) {
      lines.push(`  ${metric.padEnd(34)} ${figures.join(', ')}`);
    }
    for (const [threshold, { ok }] of Object.entries(thresholds)) {
      missed += ok ? 0 : 1;
      lines.push(`    ${ok ? 'met   ' : 'MISSED'} ${threshold}`);
    }
  }
  const failing = (group) => [...group.checks.filter((it) => it.fails), ...group.groups.flatMap(failing)];
  failing(data.root_group).forEach((it) => lines.push(`  FAILED ${it.fails} of ${it.passes + it.fails}: ${it.name}`));
  lines.push(missed ? `${missed} thresholds missed` : 'all thresholds met', '');
  const text = lines.join('\n');
  const file = `${__ENV.RESULTS}/${name}`;
  return { stdout: text, [`${file}.txt`]: text, [`${file}.json`]: JSON.stringify(data, null, 2) };
};

export const trends = ['med', 'p(95)', 'p(99)', 'max'];
