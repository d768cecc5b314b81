// Many streams at once, each at the provider's pace; none may be cut short or held up. k6 sees only the whole of a
// stream: first events and gaps are measured by the load client (loadtest/compare.sh, scenario `streams`).

import { Trend } from 'k6/metrics';
import { asked, number, setting, summary, thresholds, trends } from './lib.js';

const TOKENS = 50;
const PACE_MS = 20;
// The beginning and the end are events of their own.
const PROVIDER_MS = (TOKENS + 2) * PACE_MS;
const late = new Trend('later_than_the_provider', true);

export const options = {
  scenarios: {
    streaming: { executor: 'constant-vus', vus: number('VUS', 100), duration: setting('DURATION', '20s'), gracefulStop: '5s' },
  },
  thresholds: { ...thresholds, later_than_the_provider: ['med<50', 'p(99)<250'] },
  summaryTrendStats: trends,
};

export default function () {
  const answer = asked({ stream: true, tokens: TOKENS });
  late.add(answer.timings.duration - PROVIDER_MS);
}

export const handleSummary = summary('streaming');
