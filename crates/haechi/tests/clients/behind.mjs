// The generated client through a proxy with TLS: node behind.mjs CLIENT ADDRESS CA. Prints `done` at the end.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import https from "node:https";

const [, , module, address, authority] = process.argv;
const { Haechi } = await import(module);
const ca = readFileSync(authority);

// A browser speaks HTTP/2 to it.
const session = http2.connect(address, { ca });
const status = await new Promise((resolve, reject) => {
  session.on("error", reject);
  const request = session.request({ ":path": "/api/v1/posts" });
  request.on("response", (headers) => resolve(headers[":status"]));
  request.end();
});
session.close();
assert.equal(status, 200);

// The header that a client writes is not passed on: the session's network is that of the connection.
const account = { email: "node@example.com", password: "seven purple otters dance" };
const pretending = new Haechi({ url: address, fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, "X-Forwarded-For": "203.0.113.9" } }) });
await pretending.auth.signUp(account);
await pretending.auth.signIn(account);
const [{ address: network }] = await pretending.auth.sessions();
assert.equal(network, "127.0.0.1");

// A stream through it says at once what happens.
const stream = pretending.posts.watch();
assert.deepEqual((await stream.next()).value, { type: "ready" });
const next = stream.next();
const began = Date.now();
console.log("write");
const { value } = await next;
assert.ok(value.type === "create" && Date.now() - began < 5_000, JSON.stringify(value));
await stream.return();

// A body over its bound is Haechi's answer, not the proxy's.
const large = await pretending.request("POST", "/api/v1/posts", { body: { title: "x".repeat(3_000_000) } }).catch((error) => error);
assert.ok(["too-large", "forbidden"].includes(large.kind), large.kind);
https.globalAgent.destroy();
console.log("done");
