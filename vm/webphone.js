// SPDX-License-Identifier: GPL-3.0-or-later
// A telephone as web pages are: SIP over WebSocket (RFC 7118) and WebRTC, without a library.
//
// It has one call at a time and answers by itself. What it hears can be had as samples, for no loudspeaker is needed.
"use strict";

const RATE = 8000;
const random = () => crypto.getRandomValues(new Uint32Array(2)).join("");
const uriIn = value => /<([^>]+)>/.exec(value)?.[1] ?? value.split(";")[0].trim();

class WebPhone {
  constructor({url, user, password, domain, codec, microphone}) {
    Object.assign(this, {url, user, password, domain, codec, microphone});
    this.host = `${random()}.invalid`;
    this.address = `sip:${user}@${domain}`;
    this.contact = `<sip:${user}@${this.host};transport=ws>`;
    this.waiting = new Map();
    this.state = "idle";
    this.call = null;
  }

  async connect() {
    this.socket = new WebSocket(this.url, "sip");
    this.socket.onmessage = ({data}) => this.receive(data);
    await new Promise((resolve, reject) => Object.assign(this.socket, {onopen: resolve, onerror: reject}));
    this.socket.onclose = () => { this.state = "disconnected"; };
  }

  async register(expires = 600) {
    const contact = `${this.contact};+sip.ice;reg-id=1;+sip.instance="<urn:uuid:${crypto.randomUUID()}>";expires=${expires}`;
    const dialog = this.begin(`sip:${this.domain}`, this.address);
    const headers = [`Contact: ${contact}`, "Supported: path, gruu, outbound"];
    return (await this.request(dialog, "REGISTER", headers)).status;
  }

  /* Call somebody: the final status. */
  async dial(target) {
    this.call = {connection: await this.open(), dialog: this.begin(target, target)};
    const status = await this.offer();
    if (status >= 300)
      this.close();
    else
      this.state = "talking";
    return status;
  }

  /* Offer anew in the call at hand, by another way through the network (ICE restart): the final status. */
  restart() {
    this.call.connection.restartIce();
    return this.offer();
  }

  async offer() {
    const {connection, dialog} = this.call;
    await connection.setLocalDescription(await connection.createOffer());
    await gathered(connection);
    const response = await this.request(dialog, "INVITE", this.described(), connection.localDescription.sdp);
    if (response.status < 300)
      await connection.setRemoteDescription({type: "answer", sdp: response.body});
    return response.status;
  }

  described() {
    return [`Contact: ${this.contact}`, "Content-Type: application/sdp", "Supported: outbound"];
  }

  async hangup() {
    const {dialog} = this.call;
    this.close();
    return (await this.request(dialog, "BYE")).status;
  }

  /* Wait for a state, milliseconds at most: the state that there is then. */
  async until(state, limit) {
    for (const end = Date.now() + limit; this.state !== state && Date.now() < end;)
      await new Promise(resolve => setTimeout(resolve, 20));
    return this.state;
  }

  /* What comes in from now on: so many seconds of 16-bit samples at 8 kHz. */
  async hear(seconds) {
    const reader = new MediaStreamTrackProcessor({track: this.remote}).readable.getReader();
    const samples = [];
    let step = 0, sum = 0;
    while (samples.length < seconds * RATE) {
      const {value: data, done} = await reader.read();
      if (done)
        break;
      const plane = new Float32Array(data.numberOfFrames);
      data.copyTo(plane, {planeIndex: 0, format: "f32-planar"});
      for (const sample of plane) {
        sum += sample;
        if (++step >= data.sampleRate / RATE) {
          samples.push(Math.round(sum / step * 32767));
          step = sum = 0;
        }
      }
      data.close();
    }
    reader.cancel();
    return samples;
  }

  /* Addresses and ways of the media that flows, as WebRTC counts it: once all is known, or after so many milliseconds
     what is. A codec is listed when the first packet after a description has come. */
  async media(limit) {
    for (const end = Date.now() + limit;;) {
      const found = this.counted([...(await this.call.connection.getStats()).values()]);
      if (Object.values(found).every(Boolean) || Date.now() >= end)
        return found;
      await new Promise(resolve => setTimeout(resolve, 20));
    }
  }

  counted(reports) {
    const of = type => reports.filter(report => report.type === type);
    const used = of("candidate-pair").find(pair => pair.nominated && pair.state === "succeeded") ?? {};
    const remote = reports.find(report => report.id === used.remoteCandidateId) ?? {};
    const codec = of("codec").find(each => each.id === of("inbound-rtp")[0]?.codecId) ?? {};
    return {address: remote.address, codec: codec.mimeType, dtls: of("transport")[0]?.dtlsState};
  }

  async open() {
    const connection = new RTCPeerConnection();
    const stream = await this.sound();
    for (const track of stream.getTracks())
      connection.addTrack(track, stream);
    if (this.codec)
      connection.getTransceivers()[0].setCodecPreferences(
        RTCRtpReceiver.getCapabilities("audio").codecs.filter(each => each.mimeType === this.codec));
    connection.ontrack = ({track, streams}) => {
      this.remote = track;
      document.querySelector("audio").srcObject = streams[0] ?? new MediaStream([track]);
    };
    return connection;
  }

  /* The microphone; or a tone without asking for one, so that the page may know no address of ours (mDNS). */
  async sound() {
    if (this.microphone) {
      const audio = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};
      return navigator.mediaDevices.getUserMedia({audio});
    }
    const context = new AudioContext();
    const tone = new OscillatorNode(context, {frequency: 440});
    const sink = new MediaStreamAudioDestinationNode(context);
    tone.connect(new GainNode(context, {gain: 0.25})).connect(sink);
    tone.start();
    return sink.stream;
  }

  close() {
    this.call?.connection.close();
    this.call = null;
    this.state = "idle";
  }

  begin(target, to) {
    const from = `<${this.address}>;tag=${random()}`;
    return {id: random(), from, to: `<${to}>`, target, routes: [], number: 0};
  }

  /* Send a request of a dialog, with a password where that is asked for: the final response. */
  async request(dialog, method, headers = [], body = "") {
    const number = ++dialog.number;
    const response = await this.send(dialog, method, number, headers, body);
    const challenge = [401, 407].includes(response.status) && !headers.some(line => /authorization:/i.test(line))
      && this.answer(response, method, dialog.target);
    if (method === "INVITE" && response.status < 300) {
      dialog.to = response.headers.to[0];
      dialog.target = uriIn(response.headers.contact[0]);
      dialog.routes = (response.headers["record-route"] ?? []).reverse();
    }
    if (method === "INVITE")
      this.write(dialog, "ACK", number, response.status < 300 ? `z9hG4bK${random()}` : response.branch, [], "");
    return challenge ? this.request(dialog, method, [...headers, challenge], body) : response;
  }

  send(dialog, method, number, headers, body) {
    const branch = `z9hG4bK${random()}`;
    this.write(dialog, method, number, branch, headers, body);
    return new Promise(resolve => this.waiting.set(branch, resolve));
  }

  write(dialog, method, number, branch, headers, body) {
    this.put(`${method} ${dialog.target} SIP/2.0`, [
      `Via: SIP/2.0/${this.url.split(":")[0].toUpperCase()} ${this.host};branch=${branch}`,
      "Max-Forwards: 69",
      ...dialog.routes.map(route => `Route: ${route}`),
      `From: ${dialog.from}`, `To: ${dialog.to}`, `Call-ID: ${dialog.id}`, `CSeq: ${number} ${method}`,
      ...headers,
    ], body);
  }

  put(first, lines, body = "") {
    const length = new TextEncoder().encode(body).length;
    this.socket.send([first, ...lines, `Content-Length: ${length}`, "", body].join("\r\n"));
  }

  /* By MD5, as the libraries of web pages do, and no other. */
  answer(response, method, uri) {
    const [asks, says] = response.status === 401 ? ["www-authenticate", "Authorization"]
      : ["proxy-authenticate", "Proxy-Authorization"];
    const challenge = response.headers[asks].find(value => !/algorithm/i.test(value) || /algorithm="?MD5\b/i.test(value));
    const said = Object.fromEntries([...challenge.matchAll(/(\w+)="?([^",]+)"?/g)].map(([, key, value]) => [key, value]));
    const [nc, cnonce] = ["00000001", random()];
    const user = md5(`${this.user}:${said.realm}:${this.password}`);
    const proof = md5([user, said.nonce, nc, cnonce, "auth", md5(`${method}:${uri}`)].join(":"));
    const opaque = said.opaque ? `, opaque="${said.opaque}"` : "";
    return `${says}: Digest username="${this.user}", realm="${said.realm}", nonce="${said.nonce}", uri="${uri}", `
      + `response="${proof}", algorithm=MD5, qop=auth, nc=${nc}, cnonce="${cnonce}"${opaque}`;
  }

  receive(data) {
    const message = parse(data);
    if (message.status) {
      if (message.status >= 200) {
        this.waiting.get(message.branch)?.(message);
        this.waiting.delete(message.branch);
      }
      return;
    }
    if (message.method === "INVITE")
      this.invited(message);
    else if (message.method === "BYE" || message.method === "CANCEL") {
      this.respond(message, "200 OK");
      if (message.method === "CANCEL")
        this.respond(this.call.invite, "487 Request Terminated");
      this.close();
    } else if (message.method !== "ACK")
      this.respond(message, "200 OK");
  }

  /* A call, which is answered at once, or a change of the one at hand. */
  async invited(invite) {
    const id = invite.headers["call-id"][0];
    if (this.call && this.call.dialog.id !== id) {
      this.respond(invite, "486 Busy Here");
      return;
    }
    if (!this.call) {
      const connection = await this.open();
      const dialog = {
        id, from: `${invite.headers.to[0]};tag=${random()}`, to: invite.headers.from[0],
        target: uriIn(invite.headers.contact[0]), routes: invite.headers["record-route"] ?? [], number: 0,
      };
      this.call = {connection, dialog, invite};
      this.respond(invite, "180 Ringing", [`Contact: ${this.contact}`]);
    }
    const {connection} = this.call;
    await connection.setRemoteDescription({type: "offer", sdp: invite.body});
    await connection.setLocalDescription(await connection.createAnswer());
    await gathered(connection);
    this.respond(invite, "200 OK", this.described(), connection.localDescription.sdp);
    this.state = "talking";
  }

  respond(request, status, headers = [], body = "") {
    const {via, from, to, cseq} = request.headers;
    const id = request.headers["call-id"][0];
    const ours = this.call?.dialog.id === id ? this.call.dialog.from : `${to[0]};tag=${random()}`;
    this.put(`SIP/2.0 ${status}`, [
      ...via.map(value => `Via: ${value}`), `From: ${from[0]}`, `To: ${ours}`,
      `Call-ID: ${id}`, `CSeq: ${cseq[0]}`, ...headers,
    ], body);
  }
}

/* All candidates are in the description: nothing trickles. */
function gathered(connection) {
  if (connection.iceGatheringState === "complete")
    return Promise.resolve();
  return new Promise(resolve => connection.addEventListener("icegatheringstatechange", () => {
    if (connection.iceGatheringState === "complete")
      resolve();
  }));
}

function parse(data) {
  const [head, ...rest] = data.split("\r\n\r\n");
  const [first, ...lines] = head.split("\r\n");
  const headers = {};
  for (const line of lines) {
    const [, name, value] = /^([^:]+?)\s*:\s*(.*)$/.exec(line);
    (headers[name.toLowerCase()] ??= []).push(value);
  }
  const status = /^SIP\/2\.0 (\d+)/.exec(first)?.[1];
  return {
    status: status ? Number(status) : 0, method: first.split(" ")[0], headers, body: rest.join("\r\n\r\n"),
    branch: /branch=([^;]+)/.exec(headers.via[0])?.[1],
  };
}

/* RFC 1321, which browsers leave out. */
function md5(text) {
  const bytes = new TextEncoder().encode(text);
  const view = new DataView(new ArrayBuffer((bytes.length + 72 >> 6) * 64));
  bytes.forEach((byte, place) => view.setUint8(place, byte));
  view.setUint8(bytes.length, 0x80);
  view.setUint32(view.byteLength - 8, bytes.length * 8, true);
  const state = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];
  const turns = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
  for (let block = 0; block < view.byteLength; block += 64) {
    let [a, b, c, d] = state;
    for (let step = 0; step < 64; step++) {
      const round = step >> 4;
      const mixed = [b & c | ~b & d, d & b | ~d & c, b ^ c ^ d, c ^ (b | ~d)][round];
      const word = [step, 5 * step + 1, 3 * step + 5, 7 * step][round] % 16;
      const sum = a + mixed + Math.floor(Math.abs(Math.sin(step + 1)) * 2 ** 32) + view.getUint32(block + 4 * word, true) | 0;
      const by = turns[round][step % 4];
      [a, d, c, b] = [d, c, b, b + (sum << by | sum >>> 32 - by) | 0];
    }
    [a, b, c, d].forEach((value, place) => { state[place] = state[place] + value | 0; });
  }
  const out = new DataView(new ArrayBuffer(16));
  state.forEach((value, place) => out.setInt32(4 * place, value, true));
  return [...new Uint8Array(out.buffer)].map(byte => byte.toString(16).padStart(2, "0")).join("");
}
