// Many clients spend one small hard budget at once: it is spent, and not a nano-dollar more.

import { check } from 'k6';
import { Counter } from 'k6/metrics';
import { ask, number, refused, summary, trends, whole } from './lib.js';

// run.sh gives the key 0.01 USD; these are gpt-4o-mini's prices in conf/prices.yaml, in nano-USD a token.
const BUDGET = 10_000_000;
const INPUT = 150;
const OUTPUT = 600;

const spent = new Counter('spent_nano_usd');
const turnedAway = new Counter('turned_away');

export const options = {
  scenarios: { race: { executor: 'shared-iterations', vus: number('VUS', 100), iterations: 2000, maxDuration: '60s' } },
  thresholds: {
    checks: ['rate==1'],
    spent_nano_usd: [`count>${BUDGET * 0.9}`, `count<=${BUDGET}`],
    turned_away: ['count>500'],
  },
  summaryTrendStats: trends,
};

export default function () {
  const answer = ask();
  if (answer.status === 200) {
    check(answer, { 'answered whole': (it) => whole(it, false) });
    const usage = answer.json('usage');
    spent.add(usage.prompt_tokens * INPUT + usage.completion_tokens * OUTPUT);
  } else {
    turnedAway.add(1);
    // While running requests hold what is left, another is told to come back.
    check(answer, {
      'refused for its budget': (it) => refused(it, 402, 'budget_exceeded') || refused(it, 429, 'budget_reserved'),
    });
  }
}

export const handleSummary = summary('budget_race');
