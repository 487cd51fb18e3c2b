// Twilio's own library for Node.js, against the address, account and token that it is started with.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { join } from 'node:path';

// Modules are where `npm ci` was run, which is not here.
const twilio = createRequire(join(process.cwd(), 'package.json'))('twilio');
const [base, account, token] = process.argv.slice(2);

const client = (...credentials) => {
  const made = twilio(...credentials);
  made.api.baseUrl = base;
  return made;
};
const refused = (status, code, what) =>
  assert.rejects(what, (error) => {
    assert.deepEqual([error.status, error.code], [status, code], String(error));
    assert.equal(error.moreInfo, `https://www.twilio.com/docs/errors/${code}`);
    return true;
  });

const own = client(account, token);
assert.equal((await own.api.accounts(account).fetch()).friendlyName, 'Acme');
const calls = await own.calls.list({ pageSize: 2, to: undefined });
assert.ok(calls.length >= 6, `${calls.length} calls`);
assert.equal(new Set(calls.map((call) => call.sid)).size, calls.length);
const old = calls.find((call) => call.direction === 'inbound');
assert.equal(old.duration, '20');
assert.ok(old.startTime instanceof Date && !Number.isNaN(old.startTime.getTime()));
assert.equal((await own.calls.list({ status: 'busy' })).length, 0);
await refused(404, 20404, () => own.calls('CA' + 'f'.repeat(32)).fetch());

const made = await own.calls.create({
  to: 'sip:bob@example.test',
  from: '+15550100',
  twiml: '<Response><Say>hello</Say></Response>',
  statusCallback: 'https://app.test/status',
  statusCallbackEvent: ['ringing', 'completed'],
});
assert.equal(made.status, 'queued');
assert.equal((await own.calls(made.sid).update({ status: 'completed' })).sid, made.sid);
await refused(400, 21220, () => own.calls(old.sid).update({ url: 'https://app.test/' }));
await refused(400, 21212, () => own.calls.create({ to: '100', from: 'nobody', url: 'https://app.test/' }));
const stream = await own.calls(made.sid).streams.create({ url: 'wss://app.test/', name: 'two' });
assert.equal((await own.calls(made.sid).streams(stream.sid).update({ status: 'stopped' })).status, 'stopped');
const begun = await own.calls(made.sid).recordings.create({ recordingChannels: 'dual', trim: 'trim-silence' });
assert.equal(begun.status, 'in-progress');
const current = own.calls(made.sid).recordings('Twilio.CURRENT');
assert.equal((await current.update({ status: 'paused', pauseBehavior: 'silence' })).status, 'paused');
assert.equal((await own.calls(made.sid).recordings(begun.sid).update({ status: 'stopped' })).sid, begun.sid);
await refused(400, 21220, () => own.calls(old.sid).recordings.create());
assert.equal((await own.calls(made.sid).update({ timeLimit: 60 })).sid, made.sid);
const dialled = (await own.calls.list()).find((call) => call.direction === 'outbound-dial');
assert.equal((await own.calls.list({ parentCallSid: dialled.parentCallSid }))[0].sid, dialled.sid);
await refused(429, 20429, () => own.calls.create({ to: '+15550429', from: '100', twiml: '<Response/>' }));

const recordings = await own.calls(old.sid).recordings.list();
assert.equal((await own.recordings(recordings[0].sid).fetch()).callSid, old.sid);
const number = await own.incomingPhoneNumbers.create({ phoneNumber: '+15550198', voiceUrl: 'https://app.test/' });
assert.equal(number.phoneNumber, '+15550198');
const application = await own.applications.create({ friendlyName: 'node', voiceUrl: 'https://app.test/' });
assert.equal((await own.applications(application.sid).fetch()).friendlyName, 'node');
assert.ok(await own.applications(application.sid).remove());
const key = await own.newKeys.create({ friendlyName: 'node' });
const withKey = client(key.sid, key.secret, { accountSid: account });
assert.equal((await withKey.calls(old.sid).fetch()).sid, old.sid);
assert.ok(await own.keys(key.sid).remove());
await refused(401, 20003, () => withKey.calls(old.sid).fetch());

const messages = await own.messages.list({ to: '+15550003' });
assert.deepEqual([messages.length, messages[0].status, messages[0].numMedia], [1, 'undelivered', '0']);
assert.equal((await own.messages(messages[0].sid).update({ body: '' })).body, '');
assert.equal(await own.messages(messages[0].sid).remove(), true);
const sent = await own.messages.create({ to: '+15550100', from: 'client:alice', body: 'hello' });
assert.deepEqual([sent.status, sent.direction, sent.body], ['queued', 'outbound-api', 'hello']);
await refused(400, 21211, () => own.messages.create({ to: 'nobody', from: '100', body: 'hello' }));
console.log('node: done');
