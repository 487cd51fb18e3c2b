// Whether Twilio's own library for Node.js accepts signatures: lines of JSON with token, url, params, signature.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const { validateRequest } = createRequire(join(process.cwd(), 'package.json'))('twilio');
for (const line of readFileSync(0, 'utf8').trim().split('\n')) {
  const { token, url, params, signature } = JSON.parse(line);
  assert.ok(validateRequest(token, signature, url, params), line);
  assert.ok(!validateRequest(token, signature, `${url}x`, params), line);
}
console.log('node: done');
