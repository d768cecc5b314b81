// More than the gateway can take: what it takes it answers whole, what it does not it refuses in order, and when the
// load has gone it is as quick as before.

import { check } from 'k6';
import { Counter } from 'k6/metrics';
import { ask, asked, number, summary, trends, whole } from './lib.js';

const answered = new Counter('answered');
const turnedAway = new Counter('turned_away');

export const options = {
  scenarios: {
    overload: {
      executor: 'constant-arrival-rate',
      exec: 'overload',
      rate: number('RATE', 20000),
      duration: '10s',
      preAllocatedVUs: number('VUS', 500),
      maxVUs: 500,
    },
    after: { executor: 'constant-arrival-rate', exec: 'after', rate: 20, duration: '5s', preAllocatedVUs: 20, startTime: '14s' },
  },
  thresholds: {
    checks: ['rate==1'],
    answered: ['count>1000'],
    'http_req_duration{name:after}': ['p(99)<100'],
  },
  summaryTrendStats: trends,
};

export function overload() {
  const answer = ask({ tags: { name: 'overload' } });
  const isAway = answer.status === 429 || answer.status === 503;
  (isAway ? turnedAway : answered).add(1);
  check(answer, { 'answered whole or refused in order': (it) => isAway || whole(it, false) });
}

export function after() {
  asked({ tags: { name: 'after' } });
}

export const handleSummary = summary('overload');
