// The generated client against a real server: node typescript.mjs CLIENT SERVER NGINX KIM ANN. Prints `done` at the end,
// and `cut` where the proxy is to be restarted.
import assert from "node:assert/strict";
import { proxy } from "./proxy.mjs";

const [, , module, server, nginx, kimsToken, annsToken] = process.argv;
const { Haechi, HaechiError, me, filter } = await import(module);
const kim = new Haechi({ url: server, token: kimsToken });
const ann = new Haechi({ url: server, token: annsToken });
const fails = async (promise, kind) => {
  const error = await promise.then(() => assert.fail(`${kind} was expected`), (thrown) => thrown);
  assert.ok(error instanceof HaechiError, error.stack);
  assert.equal(error.kind, kind, error.message);
  return error;
};
const titles = (page) => page.items.map((note) => note.title).sort();
const steps = [];
const step = (name, run) => steps.push([name, run]);

step("rows are created, read, changed and deleted", async () => {
  const made = await kim.notes.create({ title: "one", rank: 3, secret: "s", mail: "a@example.com" });
  assert.equal(made.version, 1);
  assert.deepEqual(await kim.notes.get(made.id), made);
  const changed = await kim.notes.update(made.id, { rank: null }, { version: 1 });
  assert.deepEqual([changed.rank, changed.version], [null, 2]);
  const late = await fails(kim.notes.update(made.id, { rank: 9 }, { version: 1 }), "version-mismatch");
  assert.equal(late.status, 412);
  // Somebody else sees less, and what they do not see is not there.
  const seen = await ann.notes.get(made.id, { fields: ["title", "secret", "mail"] });
  assert.deepEqual(seen, { id: made.id, title: "one", _masked: ["secret", "mail"] });
  assert.equal(await kim.notes.delete(made.id), undefined);
  await fails(kim.notes.get(made.id), "not-found");
  const wrong = await fails(kim.notes.create({ title: "", rank: 5000, nothing: 1 }), "invalid-fields");
  assert.deepEqual(wrong.errors.map(({ pointer }) => pointer).sort(), ["/nothing", "/rank"]);
  assert.match(wrong.request_id, /^[0-9a-f]{32}$/);
  await fails(new Haechi({ url: server }).notes.list(), "unauthenticated");
});

step("every text finds its row again", async () => {
  const hard = ['a "quoted" one', "back\\slash", "tab\tnew\nline\r", "한국어 ☃ 🦁", "') OR (title = \"x", "NOT me", "me", "null", " leading", "50%_*"];
  for (const title of hard) await kim.notes.create({ title, rank: 7 });
  for (const title of hard) assert.deepEqual(titles(await kim.notes.list({ where: { title, rank: 7 } })), [title]);
  assert.equal((await kim.notes.list({ where: { title: { in: hard } } })).items.length, hard.length);
  assert.deepEqual(titles(await kim.notes.list({ where: { title: { contains: "slash" } } })), ["back\\slash"]);
  assert.deepEqual(await kim.notes.remove({ title: { in: hard } }).then(({ count }) => count), hard.length);
});

step("filters mean what they say", async () => {
  const [a, b, c] = await Promise.all(["a", "b", "c"].map((title, rank) => kim.notes.create({ title, rank, slug: title === "c" ? null : `slug-${title}` })));
  await kim.notes.update(c.id, { parent: a.id });
  const found = async (where) => titles(await kim.notes.list({ where, page_size: 50 })).join("");
  assert.equal(await found({}), "abc");
  assert.equal(await found({ author: me }), "abc");
  assert.equal(await found({ title: { in: [] } }), "");
  assert.equal(await found({ title: { not_in: [] } }), "abc");
  assert.equal(await found({ or: [] }), "");
  assert.equal(await found({ not: {} }), "");
  assert.equal(await found({ not: { or: [{ title: "a" }, { rank: { gte: 2 } }] } }), "b");
  assert.equal(await found({ or: [{ title: "a" }, { title: "b" }], rank: { lt: 1 } }), "a");
  assert.equal(await found({ and: [{ rank: { gt: 0 } }, { rank: { lte: 1 } }] }), "b");
  assert.equal(await found({ slug: null }), "c");
  assert.equal(await found({ slug: { ne: null } }), "ab");
  assert.equal(await found({ parent: { where: { title: "a" } } }), "c");
  assert.equal(await found({ parent: { where: { not: { or: [{ title: "b" }, { title: "c" }] } } } }), "abc", "as everywhere, `not` finds what has no value too");
  assert.equal(await found({ parent: { ne: null, where: { not: { title: "b" } } } }), "c");
  assert.equal(await found('title = "a"'), "a");
  // What is missing by mistake never widens a filter.
  for (const where of [{ title: undefined }, { title: { eq: undefined } }, { or: [{ rank: undefined }] }]) {
    assert.throws(() => filter(where), TypeError);
    await assert.rejects(async () => kim.notes.remove(where), TypeError);
  }
  for (const where of [{ rank: new Date(0) }, { rank: {} }, { rank: [] }, { rank: new Map() }, { rank: NaN }, { rank: { eq: ["1 OR rank:*"] } }, { rank: { in: "abc" } }, { parent: { where: {} } }, { "rank:* OR rank": 1 }, { title: { startswith: "x" } }, { title: { lt: null } }, { and: { rank: 1 } }]) {
    assert.throws(() => filter(where), TypeError, JSON.stringify(where));
  }
  // A personal field is asked about in a body.
  await kim.notes.update(a.id, { mail: "kim@example.com" });
  assert.equal(await found({ mail: "kim@example.com" }), "a");
  // Order, fields, expansions.
  const page = await kim.notes.list({ order: { rank: "desc" }, fields: ["title"], count: true });
  assert.deepEqual([page.items.map(({ title }) => title), page.total_size], [["c", "b", "a"], 3]);
  const wide = await kim.notes.get(c.id, { fields: ["title"], expand: { parent: { fields: ["title"], expand: { notes_by_parent: { first: 1, fields: ["rank"] } } } } });
  assert.deepEqual(wide._expanded.parent, { id: a.id, title: "a", _expanded: { notes_by_parent: { items: [{ id: c.id, rank: 2 }], more: false } } });
  // Groups, keys, many at once, batches.
  const [all] = await kim.notes.aggregate({ sum: ["rank"], max: ["title"] });
  assert.deepEqual([all.count, all.sum.rank, all.max.title], [3, "3", "c"]);
  assert.deepEqual((await kim.notes.aggregate({ by: ["title"], where: { rank: { lt: 2 } } })).map(({ key, count }) => [key.title, count]), [["a", 1], ["b", 1]]);
  assert.equal((await kim.notes.upsert(["slug"], { slug: "SLUG-B", title: "bb" })).id, b.id);
  assert.deepEqual(await kim.notes.change({ rank: { gte: 1 } }, { title: "z" }).then(({ ids }) => ids.sort()), [b.id, c.id].sort());
  const [made, below, many, gone] = await kim.batch([
    { create: "notes", as: "n", data: { title: "n" } },
    { create: "notes", data: { title: "m", parent: "$n.id" } },
    { change: "notes", where: { title: "z" }, data: { rank: 9 } },
    { delete: "notes", id: a.id },
  ]);
  assert.deepEqual([below.parent, many.count, gone], [made.id, 2, { id: a.id, _deleted: true }]);
  await fails(kim.batch([{ create: "notes", data: {} }]), "invalid-fields");
  await kim.notes.remove({ author: me });
});

step("pages go on to the end", async () => {
  for (let at = 0; at < 25; at++) await kim.notes.create({ title: `page ${at}`, rank: at });
  const seen = [];
  for await (const { rank } of kim.notes.all({ order: { rank: "asc" }, page_size: 10, where: { title: { starts_with: "page" } } })) seen.push(rank);
  assert.deepEqual(seen, Array.from({ length: 25 }, (_, at) => at));
  const sizes = [];
  for await (const { items } of kim.notes.pages({ page_size: 10 })) sizes.push(items.length);
  assert.deepEqual(sizes, [10, 10, 5]);
  await kim.notes.remove({ author: me });
});

step("what may be repeated is repeated, what may not is not", async () => {
  const way = await proxy(server);
  const client = new Haechi({ url: way.url, token: kimsToken, timeout: 1_000 });
  // The change was made and its reply lost, twice; then the proxy has no server.
  way.faults.push({ drop: true }, { drop: true }, { status: 502 });
  const made = await client.notes.create({ title: "once" });
  assert.equal(made.title, "once");
  assert.equal(new Set(way.seen.map(({ key }) => key)).size, 1);
  assert.equal((await kim.notes.list({ where: { title: "once" } })).items.length, 1);
  // Reads, and a reply that is cut, or is no reply of Haechi's.
  way.faults.push({ refuse: true }, { cut: 100 }, { status: 200, body: "<h1>sign in to the hotel's network</h1>" });
  assert.equal((await client.notes.get(made.id)).title, "once");
  // A wait that is asked for, also as a date of a server whose clock is not ours.
  const day = new Date(Date.now() - 86_400_000);
  way.faults.push({ status: 429, headers: { "retry-after": "1" } }, { status: 503, headers: { date: day.toUTCString(), "retry-after": new Date(day.getTime() + 1_000).toUTCString() } });
  const began = Date.now();
  await client.notes.update(made.id, { title: "twice" });
  assert.ok(Date.now() - began > 1_900);
  // Not without end, and not when the wait is long.
  way.faults.push(...Array(9).fill({ status: 502 }));
  assert.equal((await fails(client.notes.get(made.id), "unexpected")).status, 502);
  way.faults.length = 0;
  way.faults.push({ status: 503, headers: { "retry-after": "3600" } });
  assert.equal((await fails(client.notes.get(made.id), "unexpected")).retry_after, 3600);
  // What was refused is not sent again, and signing in never is.
  way.seen.length = 0;
  await fails(client.notes.create({}), "invalid-fields");
  way.faults.push({ drop: true });
  await fails(client.auth.signIn({ email: "a@example.com", password: "wrong wrong wrong" }), "unreachable");
  assert.equal(way.seen.length, 2);
  // A key of one's own holds over calls.
  const [one, two] = await Promise.all([1, 2].map(() => client.notes.create({ title: "mine" }, { idempotency_key: "my-key" })).map((call) => call.catch(() => null)));
  assert.equal((await kim.notes.list({ where: { title: "mine" } })).items.length, 1, `${one?.id} ${two?.id}`);
  // Nobody answers; and somebody does not want to wait.
  way.faults.push(...Array(5).fill({ hang: true }));
  await fails(new Haechi({ url: way.url, token: kimsToken, timeout: 100, retries: 1 }).notes.get(made.id), "unreachable");
  const stop = new AbortController();
  setTimeout(() => stop.abort(), 100);
  await assert.rejects(client.notes.get(made.id, {}, { signal: stop.signal }), { name: "AbortError" });
  await assert.rejects(client.notes.get(made.id, {}, { signal: AbortSignal.abort() }), { name: "AbortError" });
  way.end();
  await fails(new Haechi({ url: way.url, retries: 1 }).notes.list(), "unreachable");
  await kim.notes.remove({ author: me });
});

step("a stream goes on after every error", async () => {
  const way = await proxy(server);
  const client = new Haechi({ url: way.url, token: kimsToken, silence: 1_500 });
  const stop = new AbortController();
  const told = [];
  const titled = new Set();
  const ended = (async () => {
    for await (const change of client.notes.watch({ fields: ["title"] }, { signal: stop.signal })) {
      told.push(change.type);
      if (change.record) titled.add(change.record.title);
    }
  })().catch((error) => error);
  const until = async (what, holds) => {
    for (let at = 0; !holds(); at++) {
      assert.ok(at < 1_600, `${what}: ${told.slice(-5)} ${titled.size}`);
      await new Promise((next) => setTimeout(next, 25));
    }
  };
  await until("ready", () => told[0] === "ready");
  let number = 0;
  const more = async (count) => {
    for (let at = 0; at < count; at++) await kim.notes.create({ title: `event ${number++}` });
  };
  await more(3);
  await until("the first", () => titled.size === 3);
  // The connection breaks; then there is no server, an answer to wait, a page, and a stream that is cut inside of an event.
  way.faults.push({ status: 502 }, { status: 429, headers: { "retry-after": "1" } }, { status: 200, body: "<h1>hotel</h1>" }, { cut: 333 }, { cut: 60, mute: true });
  way.cutAll();
  await more(10);
  await until("all that was missed", () => titled.size === 13);
  assert.deepEqual([told.filter((type) => type === "ready").length, told.includes("resync")], [1, false], "nothing was lost, so nothing is read again");
  assert.ok(way.seen.at(-1).last);
  // The position is too old: what happened since is not known.
  way.faults.push({ status: 410, headers: { "content-type": "application/problem+json" }, body: '{"type":"/problems/position-gone"}' });
  way.cutAll();
  await more(2);
  await until("resync", () => told.includes("resync"));
  await more(1);
  await until("what comes after", () => titled.has(`event ${number - 1}`));
  stop.abort();
  assert.equal((await ended)?.name, "AbortError");
  // Somebody who may not watch is told so at once.
  await fails(ann.posts.watch({ where: { nothing: 1 } }).next(), "invalid-filter");
  await fails(new Haechi({ url: server }).notes.watch().next(), "unauthenticated");
  way.end();
  await kim.notes.remove({ author: me });
});

step("a live list is never stale, and a flood of changes is a few pages", async () => {
  const way = await proxy(server);
  const client = new Haechi({ url: way.url, token: kimsToken });
  let pages = 0;
  let last;
  const stop = new AbortController();
  const ended = (async () => {
    for await (const page of client.notes.live({ where: { rank: { gte: 1 } }, count: true, page_size: 5 }, { signal: stop.signal })) {
      pages++;
      last = page.total_size;
    }
  })().catch((error) => error);
  const settles = async (expected) => {
    for (let at = 0; last !== expected; at++) {
      assert.ok(at < 400, `${last} is not ${expected}`);
      await new Promise((next) => setTimeout(next, 25));
    }
  };
  await settles(0);
  for (let part = 0; part < 4; part++) await kim.batch(Array.from({ length: 50 }, (_, at) => ({ create: "notes", data: { title: `${part} ${at}`, rank: at % 2 } })));
  await settles(100);
  assert.ok(pages < 30, `${pages} pages`);
  way.faults.push({ status: 502 });
  way.cutAll();
  await kim.notes.remove({ rank: { gte: 1 } });
  await settles(0);
  stop.abort();
  assert.equal((await ended)?.name, "AbortError");
  way.end();
  await kim.notes.remove({ author: me });
});

step("nginx is restarted in the middle", async () => {
  const client = new Haechi({ url: nginx, token: kimsToken });
  const stop = new AbortController();
  const told = [];
  const ended = (async () => {
    for await (const change of client.notes.watch({ fields: ["title"] }, { signal: stop.signal })) told.push(change.record?.title ?? change.type);
  })().catch((error) => error);
  const until = async (what, holds) => {
    for (let at = 0; !holds(); at++) {
      assert.ok(at < 1_600, `${what}: ${told}`);
      await new Promise((next) => setTimeout(next, 25));
    }
  };
  await until("ready", () => told.includes("ready"));
  console.log("cut");
  // Changes and reads through the proxy wait for it; each change is made once.
  for (let at = 0; at < 20; at++) {
    await client.notes.create({ title: `event ${at}`, rank: at });
    await new Promise((next) => setTimeout(next, 50));
  }
  assert.equal((await client.notes.list({ count: true })).total_size, 20);
  // Deletes of the step before may be told first.
  await until("all", () => Array.from({ length: 20 }, (_, at) => `event ${at}`).every((title) => told.includes(title)));
  assert.ok(!told.includes("resync"));
  stop.abort();
  await ended;
  await kim.notes.remove({ author: me });
});

step("a session that ends, ends its streams", async () => {
  const account = { email: `node-${Date.now()}@example.com`, password: "seven purple otters dance" };
  let out = 0;
  assert.throws(() => new Haechi(), TypeError);
  const client = new Haechi({ url: server, onSignedOut: () => out++ });
  assert.equal(await client.auth.me(), null);
  assert.equal(out, 0, "nobody was signed in");
  await client.auth.signUp(account);
  const wrong = await fails(client.auth.signIn({ ...account, password: "nine purple otters dance" }), "sign-in-failed");
  assert.equal(wrong.status, 401);
  const session = await client.auth.signIn(account);
  assert.ok(client.token === session.token && client.auth.device.startsWith("haechi_d_"));
  assert.equal((await client.auth.me()).email, account.email);
  assert.equal((await client.auth.sessions()).length, 1);
  const key = await client.auth.createKey({ label: "probe", scopes: ["posts:list", "posts:read", "posts:watch"] });
  const byKey = new Haechi({ url: server, token: key.key });
  await byKey.posts.list();
  const stream = client.posts.watch();
  assert.deepEqual((await stream.next()).value, { type: "ready" });
  // The same person goes on with the next session; what it sees is read again.
  const again = stream.next();
  await client.auth.signIn(account);
  assert.deepEqual((await again).value, { type: "resync" });
  const next = stream.next();
  await client.auth.changePassword({ current_password: account.password, new_password: "eleven green boats sail away" });
  assert.deepEqual((await next).value, { type: "resync" });
  assert.ok(client.token !== session.token && (await client.auth.me()));
  await fails(byKey.posts.list(), "unauthenticated");
  const last = stream.next();
  await client.auth.signOut();
  assert.equal(client.token, undefined);
  // Anybody may watch posts: the stream goes on as nobody's.
  assert.deepEqual((await last).value, { type: "resync" });
  await stream.return();
  const ended = new Haechi({ url: server });
  await ended.auth.signIn({ ...account, password: "eleven green boats sail away" });
  const theirs = ended.posts.watch();
  await theirs.next();
  const refused = theirs.next();
  await new Haechi({ url: server, token: ended.token }).auth.signOut();
  await fails(refused, "unauthenticated");
});

for (const [name, run] of steps) {
  try {
    await run();
  } catch (error) {
    console.error(`${name}: ${error.stack}`);
    process.exit(1);
  }
}
console.log("done");
