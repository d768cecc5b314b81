// A key is revoked in the middle of its traffic: no request that was begun after the acknowledgement is accepted, and
// the running stream ends with a notice. All clients are in one VU, so that they share a clock and what they know.

import http from 'k6/http';
import { check, sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import { number, refused, request, summary, trends, whole } from './lib.js';

const clients = number('VUS', 40);
const accepted = new Counter('accepted');
const acceptedAfter = new Counter('accepted_after_acknowledgement');
const refusedAfter = new Counter('refused_after_acknowledgement');
const acknowledging = new Trend('revocation_acknowledged', true);

export const options = {
  scenarios: { revocation: { executor: 'per-vu-iterations', vus: 1, iterations: 1, maxDuration: '60s' } },
  thresholds: {
    checks: ['rate==1'],
    accepted: ['count>100'],
    accepted_after_acknowledgement: ['count==0'],
    refused_after_acknowledgement: ['count>100'],
    revocation_acknowledged: ['max<1000'],
  },
  summaryTrendStats: trends,
};

export default async function () {
  let acknowledged = Infinity;
  let stop = false;
  const post = (options) => {
    const [url, body, params] = request(options);
    return http.asyncRequest('POST', url, body, params);
  };
  const client = async () => {
    while (!stop) {
      const begun = Date.now();
      const answer = await post();
      const isAfter = begun > acknowledged;
      if (answer.status === 200) {
        accepted.add(1);
        if (isAfter) acceptedAfter.add(1);
        check(answer, { 'answered whole': (it) => whole(it, false) });
      } else {
        check(answer, { 'refused as revoked': (it) => refused(it, 401, 'key_revoked') });
        if (isAfter) refusedAfter.add(1);
      }
    }
  };
  const revoke = async () => {
    const sent = Date.now();
    const answer = await http.asyncRequest('DELETE', `${__ENV.ADMIN}/v1/tokens/${__ENV.KEY_ID}`, '{}', {
      headers: { authorization: `Bearer ${__ENV.ADMIN_TOKEN}`, 'content-type': 'application/json' },
    });
    acknowledged = Date.now();
    acknowledging.add(acknowledged - sent);
    check(answer, { 'the revocation is acknowledged': (it) => it.status === 200 });
  };
  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const streaming = post({ stream: true, tokens: 5000 });
  const running = Array.from({ length: clients }, client);
  await wait(2000);
  await revoke();
  await wait(2000);
  stop = true;
  await Promise.all(running);
  const stream = await streaming;
  check(stream, {
    'the running stream ends with a notice': (it) => it.body.includes('key_revoked') && it.body.endsWith('data: [DONE]\n\n'),
  });
  sleep(0);
}

export const handleSummary = summary('revocation');
