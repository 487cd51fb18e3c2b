// Two users of a node, as two browsers' tabs would be: JsSIP over WebSocket, in Node.js. They register,
// one calls the other and hangs up, and each sends the other a MESSAGE. Prints a line for each thing that
// came about; ends with 1 and the reason where something did not.
//
//   node phones.mjs ws://NODE DOMAIN PASSWORD ADDRESS

import { createRequire } from 'node:module';

// Modules are where `npm ci` was run, which is not here.
const require = createRequire(`${process.cwd()}/`);
const JsSIP = require('jssip');
const [url, domain, password, address] = process.argv.slice(2);

globalThis.window = globalThis;
globalThis.WebSocket = require('ws');
globalThis.RTCSessionDescription = class {
  constructor({ type, sdp }) {
    Object.assign(this, { type, sdp });
  }
};
// What a browser has for media. JsSIP makes the whole of the signaling with it; there is no audio.
globalThis.RTCPeerConnection = class extends EventTarget {
  iceGatheringState = 'complete';
  iceConnectionState = 'connected';
  connectionState = 'connected';
  signalingState = 'stable';
  localDescription = null;
  remoteDescription = null;
  static ports = 7000;
  #port = (RTCPeerConnection.ports += 2);
  #sdp = () =>
    ['v=0', 'o=- 1 1 IN IP4 ' + address, 's=-', 'c=IN IP4 ' + address, 't=0 0',
      `m=audio ${this.#port} RTP/AVP 8`, 'a=rtpmap:8 PCMA/8000', 'a=sendrecv', ''].join('\r\n');
  async createOffer() {
    return { type: 'offer', sdp: this.#sdp() };
  }
  async createAnswer() {
    return { type: 'answer', sdp: this.#sdp() };
  }
  async setLocalDescription(description) {
    this.localDescription = description;
  }
  async setRemoteDescription(description) {
    this.remoteDescription = description;
  }
  addTrack() {}
  getSenders() {
    return [];
  }
  close() {
    this.signalingState = 'closed';
  }
};
const stream = { getTracks: () => [] };

const say = (what) => console.log(what);
const fail = (why) => {
  console.error(why);
  process.exit(1);
};
setTimeout(() => fail('not done in 30 s'), 30_000);

// The first of `good`, or a failure where one of `bad` comes first.
const first = (emitter, good, bad = []) =>
  new Promise((resolve) => {
    emitter.once(good, resolve);
    for (const name of bad) {
      emitter.once(name, (event) => fail(`${name}: ${event.cause ?? ''} ${event.response?.status_code ?? ''}`));
    }
  });

const phone = async (user) => {
  const ua = new JsSIP.UA({
    sockets: [new JsSIP.WebSocketInterface(url)],
    uri: `sip:${user}@${domain}`,
    password,
  });
  const registered = first(ua, 'registered', ['registrationFailed']);
  ua.start();
  await registered;
  say(`${user} registered`);
  return ua;
};

const message = async (from, to, text) => {
  const taken = new Promise((resolve) =>
    to.once('newMessage', ({ originator, request }) => originator === 'remote' && resolve(request.body)));
  const sent = new Promise((resolve) =>
    from.sendMessage(to.configuration.uri.toString(), text, {
      eventHandlers: { succeeded: resolve, failed: (event) => fail(`MESSAGE: ${event.cause}`) },
    }));
  const body = await taken;
  await sent;
  if (body !== text) fail(`MESSAGE came as ${body}`);
  say(`message ${body}`);
};

// The port that the other's media is to go to.
const port = (session) => /m=audio (\d+)/.exec(session.connection.remoteDescription.sdp)[1];

const alice = await phone('alice');
const bob = await phone('bob');
await message(alice, bob, 'hello');
await message(bob, alice, 'and back');

const incoming = new Promise((resolve) =>
  bob.once('newRTCSession', ({ session }) => resolve(session)));
const outgoing = alice.call(`sip:bob@${domain}`, { mediaStream: stream });
const [called, calling] = [await incoming, outgoing];
const up = [first(called, 'confirmed', ['failed']), first(calling, 'confirmed', ['failed'])];
called.answer({ mediaStream: stream });
await Promise.all(up);
say(`media ${port(called)} ${port(calling)}`);
const over = [first(called, 'ended'), first(calling, 'ended')];
calling.terminate();
await Promise.all(over);
say('call over');

for (const ua of [alice, bob]) {
  const gone = first(ua, 'unregistered');
  ua.unregister();
  await gone;
  ua.stop();
}
say('gone');
process.exit(0);
