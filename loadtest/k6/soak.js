// What everyday traffic does in the long run: plain answers, streams, large prompts and clients that leave early.
// DURATION=8h for a night; run.sh says how much memory the gateway had at the beginning and at the end.

import http from 'k6/http';
import { asked, number, request, setting, summary, trends } from './lib.js';

export const options = {
  scenarios: {
    soak: {
      executor: 'constant-arrival-rate',
      rate: number('RATE', 100),
      duration: setting('DURATION', '2m'),
      preAllocatedVUs: number('VUS', 100),
      maxVUs: 500,
    },
  },
  thresholds: {
    checks: ['rate==1'],
    'http_req_failed{leaves:no}': ['rate==0'],
    'http_req_duration{name:plain}': ['p(99)<250'],
  },
  summaryTrendStats: trends,
};

const large = 'A line of a long file that stands in the prompt.\n'.repeat(1000);
const stays = { leaves: 'no' };

export default function () {
  const kind = Math.random();
  if (kind < 0.7) asked({ tags: stays });
  else if (kind < 0.85) asked({ stream: true, tokens: 30, tags: stays });
  else if (kind < 0.95) asked({ prompt: large, tags: stays });
  else {
    const [url, body, params] = request({ stream: true, tokens: 100, tags: { leaves: 'yes' } });
    http.post(url, body, { ...params, timeout: '300ms' });
  }
}

export const handleSummary = summary('soak');
