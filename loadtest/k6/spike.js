// Ten times the load from one second to the next, and back: everything is answered, and what was late is so only for
// a moment.

import { asked, number, summary, thresholds, trends } from './lib.js';

const calm = number('RATE', 100);

export const options = {
  scenarios: {
    spike: {
      executor: 'ramping-arrival-rate',
      startRate: calm,
      preAllocatedVUs: number('VUS', 200),
      maxVUs: 1000,
      stages: [
        { target: calm, duration: '5s' },
        { target: calm * 10, duration: '1s' },
        { target: calm * 10, duration: '5s' },
        { target: calm, duration: '1s' },
        { target: calm, duration: '5s' },
      ],
    },
  },
  thresholds: { ...thresholds, http_req_duration: ['p(99)<1000'] },
  summaryTrendStats: trends,
};

export default function () {
  asked();
}

export const handleSummary = summary('spike');
