// Does everything answer at all? Seconds; run on every change.

import http from 'k6/http';
import { check } from 'k6';
import { ask, asked, edge, key, refused, request, summary, thresholds, trends } from './lib.js';

export const options = {
  scenarios: { smoke: { executor: 'shared-iterations', vus: 2, iterations: 20, maxDuration: '20s' } },
  thresholds: { checks: thresholds.checks },
  summaryTrendStats: trends,
};

export default function () {
  asked();
  asked({ stream: true, tokens: 10 });
  const mistyped = ask({ as: `${key.slice(0, -1)}!` });
  check(mistyped, { 'a mistyped key is told from an unknown one': (it) => refused(it, 401, 'key_malformed') });
  const [url, body, params] = request();
  const lost = http.post(url.replace('/v1/', '/v9/'), body, params);
  check(lost, { 'an unknown path is refused': (it) => refused(it, 404, 'route_unknown') });
  const me = http.get(`${edge}/keeptrusts/me`, params);
  check(me, { 'a key may ask what it is': (it) => it.status === 200 && it.body.includes('load') });
}

export const handleSummary = summary('smoke');
