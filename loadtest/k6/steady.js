// An open model: so many requests a second, however long the answers take.

import { asked, number, setting, summary, thresholds, trends } from './lib.js';

export const options = {
  scenarios: {
    steady: {
      executor: 'constant-arrival-rate',
      rate: number('RATE', 500),
      duration: setting('DURATION', '20s'),
      preAllocatedVUs: number('VUS', 50),
      maxVUs: 400,
    },
  },
  thresholds: {
    ...thresholds,
    dropped_iterations: ['count==0'],
    http_req_duration: ['p(95)<50', 'p(99)<200'],
  },
  summaryTrendStats: trends,
};

export default function () {
  asked();
}

export const handleSummary = summary('steady');
