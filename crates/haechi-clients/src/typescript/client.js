// A client of this app's Haechi: for browsers, Node and everything that has `fetch`. Its types stand in client.d.ts.

/** The caller, in filters: `{ where: { lead: me } }`. */
export const me = Object.freeze({});

// ---- filters, orders and expansions ----

const NOTHING = "id IS NULL";
const EVERYTHING = "id IS NOT NULL";
const COMPARED = { eq: "=", ne: "!=", lt: "<", lte: "<=", gt: ">", gte: ">=", has: ":" };
const ESCAPED = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

// What is no filter is refused here: a condition that is left out by mistake would widen what is found, and changed.
const wrong = (place, what) => {
  throw new TypeError(`the filter over ${place} ${what}`);
};

const literal = (value, place) => {
  if (value === me) return "me";
  if (typeof value === "boolean" || Number.isFinite(value) || typeof value === "bigint") return String(value);
  if (typeof value !== "string") wrong(place, value === undefined ? "is undefined: leave the key out, or write null" : "is no text, number or true or false: write a time or a decimal as a text");
  return `"${value.replace(/["\\\n\r\t]/g, (sign) => ESCAPED[sign] ?? `\\${sign}`)}"`;
};

const plain = (test, place) => {
  const of = Object.getPrototypeOf(test);
  return of === null || of === Object.prototype || Object.getPrototypeOf(of) === null ? test : wrong(place, "is an object that no filter is made of");
};

const list = (values, place) => (Array.isArray(values) ? values : wrong(place, "is no list"));

const oneOf = (field, values, not) => {
  // The language knows no empty list.
  if (!list(values, field).length) return not ? EVERYTHING : NOTHING;
  return `${field} ${not ? "NOT IN" : "IN"} (${values.map((value) => literal(value, field)).join(", ")})`;
};

const tested = (field, operator, value) => {
  if (operator === "where") return conditions(value, `${field}.`).length ? group(value, `${field}.`) : wrong(`${field}.where`, "is empty");
  if (operator === "in" || operator === "not_in") return oneOf(field, value, operator === "not_in");
  if (operator === "contains" || operator === "starts_with") return `${operator}(${field}, ${literal(value, field)})`;
  if (!(operator in COMPARED)) wrong(field, `has no operator ${operator}`);
  if (value === null) return operator === "eq" || operator === "ne" ? `${field} IS ${operator === "ne" ? "NOT " : ""}NULL` : wrong(field, "compares with null");
  return `${field} ${COMPARED[operator]} ${literal(value, field)}`;
};

function conditions(where, before) {
  return Object.entries(plain(where, before || "rows")).flatMap(([key, test]) => {
    if (key === "and") return list(test, key).map((part) => group(part, before));
    if (key === "or") return list(test, key).length ? [`(${test.map((part) => group(part, before)).join(" OR ")})`] : [NOTHING];
    if (key === "not") return [`NOT ${group(test, before)}`];
    const field = before + key;
    if (!/^[a-z][a-z0-9_]*$/.test(key)) wrong(field, "names no field");
    if (test === null) return [`${field} IS NULL`];
    if (typeof test !== "object" || test === me) return [`${field} = ${literal(test, field)}`];
    const tests = Object.entries(plain(test, field));
    return tests.length ? tests.map(([operator, value]) => tested(field, operator, value)) : wrong(field, "is empty");
  });
}

function group(where, before) {
  return `(${conditions(where, before).join(" AND ") || EVERYTHING})`;
}

/** The text of a filter, as `filter=` of REST takes it. */
export const filter = (where) => (typeof where === "string" ? where : conditions(where, "").join(" AND "));

const order = (by) => Object.entries(by).map(([field, direction]) => `${field} ${direction}`).join(", ");

const expansions = (expand) =>
  Object.entries(expand).flatMap(([name, inner]) => {
    if (!inner) return [];
    const parts = inner === true ? [] : [...(inner.first ? [inner.first] : []), ...(inner.fields ?? []), ...expansions(inner.expand ?? {})];
    return [parts.length ? `${name}(${parts.join(",")})` : name];
  });

const question = ({ where, order: by, expand, ...rest }) => ({
  ...rest,
  ...(where && { filter: filter(where) }),
  ...(by && { order_by: order(by) }),
  ...(expand && { expand: expansions(expand).join(",") }),
});

// ---- problems ----

/** What the server, or the way to it, answered instead of a result. */
export class HaechiError extends Error {
  constructor(status, problem, cause) {
    super(problem.detail ?? problem.title ?? `status ${status}`, { cause });
    this.name = "HaechiError";
    this.status = status;
    this.kind = problem.type?.split("/").pop() ?? (status ? "unexpected" : "unreachable");
    this.title = problem.title ?? "";
    this.errors = problem.errors ?? [];
    this.request_id = problem.request_id;
  }
}

/** Seconds that a reply asks to wait. A date counts from the server's own clock: ours may be wrong. */
const retryAfter = (headers) => {
  const text = headers.get("retry-after");
  if (!text) return undefined;
  const seconds = Number(text);
  return Number.isNaN(seconds) ? Math.max(0, (Date.parse(text) - Date.parse(headers.get("date"))) / 1000) : seconds;
};

async function failure(reply) {
  const told = reply.headers.get("content-type")?.includes("problem+json") ? await reply.json().catch(() => ({})) : {};
  const error = new HaechiError(reply.status, told);
  error.retry_after = retryAfter(reply.headers);
  return error;
}

// ---- time ----

const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 8_000;
/** Changes that come so soon after another are one page of `live`. */
const TOGETHER = 50;
/** A longer wait is told, not waited for. */
const LONGEST_RETRY_AFTER = 60;

/** Waits; ends early when the network is back. */
const pause = (ms, signal) =>
  new Promise((resolve, reject) => {
    const done = (finish) => () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stopped);
      globalThis.removeEventListener?.("online", online);
      finish();
    };
    const [online, stopped] = [done(resolve), done(() => reject(signal.reason))];
    const timer = setTimeout(online, ms);
    globalThis.addEventListener?.("online", online);
    if (signal?.aborted) stopped();
    else signal?.addEventListener("abort", stopped);
  });

const backOff = (attempt, error, signal) => {
  const grown = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** attempt) * (0.5 + Math.random() / 2);
  return pause(Math.max(grown, (error.retry_after ?? 0) * 1000), signal);
};

/** A signal that follows another one, and can be ended by itself. */
function following(signal) {
  const controller = new AbortController();
  const follow = () => controller.abort(signal.reason);
  if (signal?.aborted) follow();
  signal?.addEventListener("abort", follow);
  return { signal: controller.signal, end: (why) => controller.abort(why), release: () => signal?.removeEventListener("abort", follow) };
}

/** Whether asking again may help. */
const passes = ({ status, kind }) => [0, 408, 425, 429, 502, 503, 504].includes(status) || kind === "unknown-outcome";
/** Names a change, so that it happens once. Browsers have `randomUUID` over TLS alone, and Node from version 19. */
const newKey = () => {
  const bytes = globalThis.crypto?.getRandomValues(new Uint8Array(16)) ?? Array.from({ length: 16 }, () => Math.random() * 256);
  return Array.from(bytes, (byte) => Math.trunc(byte).toString(16).padStart(2, "0")).join("");
};

// ---- the client ----

export class Haechi {
  #options;
  #csrf;
  #person;
  #proving;
  /** Raised when somebody else signs in or out: streams begin anew as them. */
  #era = 0;
  #streams = new Set();

  constructor(options = {}) {
    const url = (options.url ?? "").replace(/\/$/, "");
    if (!url && typeof location !== "object") throw new TypeError("outside of a page, `url` says where Haechi is");
    const own = typeof location === "object" && (url === "" || url === location.origin);
    this.#options = { retries: 4, timeout: 30_000, silence: 50_000, cookie: own && !options.token, fetch: (...request) => fetch(...request), ...options, url };
    this.auth = new Auth(this, (state) => this.#signed(state));
    for (const [name, [collection, actions]] of Object.entries(COLLECTIONS)) this[name] = new Collection(this, collection, actions);
  }

  /** The longest silence of a stream that is alive: the server says something every 20 seconds. */
  get silence() {
    return this.#options.silence;
  }

  get cookie() {
    return this.#options.cookie;
  }

  /** The bearer token that requests carry. */
  get token() {
    return this.#options.token;
  }

  #signed({ token, csrf, person }) {
    const other = person !== this.#person || token !== this.#options.token;
    this.#options.token = token;
    this.#csrf = csrf;
    this.#person = person;
    if (!other) return;
    this.#era++;
    for (const stream of this.#streams) stream.end(new Error("somebody else is signed in now"));
  }

  /** Which caller streams are opened as. Internal. */
  get era() {
    return this.#era;
  }

  /** Ends a stream when the caller changes. Internal. */
  follow(stream) {
    this.#streams.add(stream);
    return () => this.#streams.delete(stream);
  }

  /** Changes that happen all or none. */
  async batch(operations, options) {
    const body = { operations: operations.map(({ where, ...rest }) => (where ? { ...rest, filter: filter(where) } : rest)) };
    return (await this.request("POST", "/api/v1:batch", { ...options, body })).results;
  }

  /** Any request, with what the client does for all: credential, proof, retries. The body of the reply, `null` without one. */
  async request(method, path, options = {}) {
    const { body, signal, version, idempotency_key, reads = method === "GET", once = false, plain = false } = options;
    const key = reads || once ? undefined : (idempotency_key ?? newKey());
    const headers = { Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (key) headers["Idempotency-Key"] = key;
    if (version !== undefined) headers["If-Match"] = `"${version}"`;
    for (let [attempt, proven] = [0, false]; ; ) {
      let error;
      try {
        return await this.#once(method, path, { body: body && JSON.stringify(body), headers, plain }, signal);
      } catch (thrown) {
        if (!(thrown instanceof HaechiError)) throw thrown;
        error = thrown;
      }
      if (error.status === 401 && error.kind === "unauthenticated" && !plain) this.#options.onSignedOut?.(error);
      if (error.status === 403 && this.cookie && method !== "GET" && !plain && !proven && (await this.#prove(signal))) {
        proven = true;
        continue;
      }
      // What changes something and has no key may have been done already: it is never sent twice.
      if (!(reads || key) || !passes(error) || attempt >= this.#options.retries || error.retry_after > LONGEST_RETRY_AFTER) throw error;
      await backOff(attempt++, error, signal);
    }
  }

  async #once(method, path, init, signal) {
    const limit = following(signal);
    const timer = setTimeout(() => limit.end(new Error("the reply took too long")), this.#options.timeout);
    try {
      const reply = await this.send(method, path, init, limit.signal);
      return reply.status === 204 ? null : await reply.json();
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw error instanceof HaechiError ? error : new HaechiError(0, { detail: "The server cannot be reached." }, error);
    } finally {
      clearTimeout(timer);
      limit.release();
    }
  }

  /** One request, without retries. Internal: streams use it too. */
  async send(method, path, { body, headers, plain }, signal) {
    const { url, token, cookie, language } = this.#options;
    const all = { ...headers };
    if (language) all["Accept-Language"] = language;
    if (cookie && method !== "GET" && !plain) {
      if (this.#csrf === undefined) await this.#prove(signal);
      if (this.#csrf) all["X-CSRF-Token"] = this.#csrf;
    } else if (!cookie && token) all.Authorization = `Bearer ${token}`;
    const reply = await this.#options.fetch(url + path, { method, body, headers: all, signal, credentials: cookie ? "same-origin" : "omit", cache: "no-store" });
    if (!reply.ok) throw await failure(reply);
    return reply;
  }

  /** Learns the proof that changes with a cookie carry; whether it is another one than before. */
  #prove(signal) {
    // Calls that begin together ask once.
    this.#proving ??= this.#learn(signal).finally(() => (this.#proving = undefined));
    return this.#proving;
  }

  async #learn(signal) {
    const before = this.#csrf;
    const person = await this.auth.me({ signal });
    // Another tab signed somebody else in: what was begun here was not meant to be done as them.
    if (this.#person && person && person.id !== this.#person) {
      throw new HaechiError(401, { type: "unauthenticated", detail: "Somebody else has signed in. Load the page again." });
    }
    this.#person = person?.id;
    this.#csrf = person?.csrf_token ?? "";
    return this.#csrf !== "" && this.#csrf !== before;
  }
}

class Auth {
  #client;
  #signed;
  /** Whether no cookie of an ended session is there. */
  #clean = false;

  constructor(client, signed) {
    this.#client = client;
    this.#signed = signed;
  }

  #post(path, body, options) {
    // These routes look at no key, so they are never sent twice.
    return this.#client.request("POST", `/auth/v1/${path}`, { ...options, body, once: true });
  }

  #began(session) {
    this.#clean = false;
    this.#signed({ token: session.token, csrf: session.csrf_token, person: session.user });
    if (session.device) this.device = session.device;
    return session;
  }

  signUp(account, options) {
    return this.#post("sign-up", account, options);
  }

  async signIn({ email, password, device = this.device }, options) {
    const body = this.#client.cookie ? { email, password, cookie: true } : { email, password, device };
    return this.#began(await this.#post("sign-in", body, options));
  }

  async signOut(options) {
    await this.#post("sign-out", undefined, options);
    this.#signed({ csrf: "" });
  }

  /** Who one is; `null` for nobody. */
  async me(options) {
    try {
      return await this.#client.request("GET", "/auth/v1/me", { ...options, plain: true });
    } catch (error) {
      if (error.status !== 401) throw error;
      if (this.#client.cookie && !this.#clean) {
        this.#clean = true;
        this.#signed({ csrf: "" });
        // A cookie whose session has ended would be refused everywhere, also where nobody needs one. Without proof, this ends no other.
        await this.#post("sign-out", undefined, { plain: true }).catch(() => {});
      }
      return null;
    }
  }

  async changePassword(passwords, options) {
    return this.#began(await this.#post("password", passwords, options));
  }

  setPassword(code, options) {
    return this.#post("password", code, options);
  }

  async #items(path, options) {
    return (await this.#client.request("GET", `/auth/v1/${path}`, options)).items;
  }

  #end(path, options) {
    return this.#client.request("DELETE", `/auth/v1/${path}`, { ...options, once: true });
  }

  sessions(options) {
    return this.#items("sessions", options);
  }

  endSession(id, options) {
    return this.#end(`sessions/${encodeURIComponent(id)}`, options);
  }

  endOtherSessions(options) {
    return this.#end("sessions", options);
  }

  keys(options) {
    return this.#items("keys", options);
  }

  createKey(key, options) {
    return this.#post("keys", key, options);
  }

  revokeKey(id, options) {
    return this.#end(`keys/${encodeURIComponent(id)}`, options);
  }
}

class Collection {
  #client;
  #path;

  constructor(client, name, actions) {
    this.#client = client;
    this.#path = `/api/v1/${name}`;
    for (const [method, action] of Object.entries(actions)) {
      this[method] = (id, input, options) => client.request("POST", `${this.#of(id)}:${action}`, { ...options, body: input });
    }
  }

  #of(id) {
    return `${this.#path}/${encodeURIComponent(id)}`;
  }

  #read(verb, body, options) {
    return this.#client.request("POST", `${this.#path}:${verb}`, { ...options, body, reads: true });
  }

  #write(verb, body, options) {
    return this.#client.request("POST", this.#path + verb, { ...options, body });
  }

  get(id, { fields, expand } = {}, options) {
    const asked = new URLSearchParams();
    if (fields) asked.set("fields", fields.join(","));
    if (expand) asked.set("expand", expansions(expand).join(","));
    return this.#client.request("GET", this.#of(id) + (fields || expand ? `?${asked}` : ""), options);
  }

  list(query = {}, options) {
    // In the body: values of filters do not belong into URLs, which end up in logs.
    return this.#read("query", question(query), options);
  }

  async *pages(query = {}, options) {
    for (let token = query.page_token; ; ) {
      const page = await this.list({ ...query, page_token: token }, options);
      yield page;
      token = page.next_page_token;
      if (!token) return;
    }
  }

  async *all(query, options) {
    for await (const page of this.pages(query, options)) yield* page.items;
  }

  aggregate({ where, by, ...rest } = {}, options) {
    return this.#read("aggregate", { ...question({ where }), ...rest, ...(by && { group_by: by }) }, options).then((reply) => reply.groups);
  }

  create(data, options) {
    return this.#write("", data, options);
  }

  update(id, data, options) {
    return this.#client.request("PATCH", this.#of(id), { ...options, body: data });
  }

  async delete(id, options) {
    await this.#client.request("DELETE", this.#of(id), options);
  }

  upsert(on, data, options) {
    return this.#write(":upsert", { on, data }, options);
  }

  change(where, data, options) {
    return this.#write(":change", { filter: filter(where), data }, options);
  }

  remove(where, options) {
    return this.#write(":remove", { filter: filter(where) }, options);
  }

  /** Changes, from now on, without end: what breaks off is opened again after the last position. */
  async *watch(query = {}, { signal } = {}) {
    const body = JSON.stringify(question(query));
    for (let [attempt, position, began] = [0, undefined, false]; ; ) {
      const limit = following(signal);
      const era = this.#client.era;
      const forget = this.#client.follow(limit);
      let error = new HaechiError(0, { detail: "The stream has ended." });
      try {
        const headers = { Accept: "text/event-stream", "Content-Type": "application/json", ...(position && { "Last-Event-ID": position }) };
        for await (const event of this.#events(body, headers, limit)) {
          attempt = 0;
          // An answer that is told twice is harmless; one that is skipped is not: the position moves with what was handed on.
          if (event.name === "end") {
            const reason = event.data.reason;
            if (reason === "signed_out") throw new HaechiError(401, { type: "unauthenticated", detail: "The session has ended." });
            if (reason === "refused") throw new HaechiError(403, { type: "forbidden", detail: "You may no longer watch this." });
            break;
          }
          // What happened before a new beginning is not known.
          if (event.name === "ready") {
            if (!began || position === undefined) yield { type: began ? "resync" : "ready" };
            began = true;
          } else if (event.name) yield { type: event.name, ...event.data };
          position = event.id ?? position;
        }
      } catch (thrown) {
        if (signal?.aborted) throw signal.reason;
        if (era !== this.#client.era) {
          // What the one has seen tells nothing of what the other sees.
          position = undefined;
          continue;
        }
        error = thrown instanceof HaechiError ? thrown : error;
        if (error.status === 410) {
          position = undefined;
          continue;
        }
        if (!passes(error) && error.status !== 500) throw error;
      } finally {
        forget();
        limit.end();
        limit.release();
      }
      await backOff(attempt++, error, signal);
    }
  }

  async *#events(body, headers, limit) {
    let timer;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => limit.end(new Error("silent")), this.#client.silence);
    };
    heard();
    try {
      const reply = await this.#client.send("POST", `${this.#path}:watch`, { body, headers }, limit.signal);
      // Something on the way may answer 200 with a page of its own.
      if (!reply.headers.get("content-type")?.startsWith("text/event-stream")) throw new Error("no stream");
      const reader = reply.body.getReader();
      const decoder = new TextDecoder();
      for (let text = ""; ; ) {
        const { value, done } = await reader.read();
        if (done) return;
        heard();
        text += decoder.decode(value, { stream: true });
        // An event counts when its empty line has come; the rest of a broken one is dropped.
        const parts = text.split(/\r?\n\r?\n/);
        text = parts.pop();
        for (const part of parts) {
          const event = {};
          for (const line of part.split(/\r?\n/)) {
            const at = line.indexOf(": ");
            const [field, value] = [line.slice(0, at), line.slice(at + 2)];
            if (field === "id") event.id = value;
            if (field === "event") event.name = value;
            if (field === "data") event.data = JSON.parse(value);
          }
          yield event;
        }
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** The page that a query finds, now and after each change; many changes at once are one page. */
  async *live(query = {}, { signal } = {}) {
    const limit = following(signal);
    let [changed, failed, wake] = [true, undefined, () => {}];
    const note = (error) => {
      [changed, failed] = [true, error];
      wake();
    };
    // Streams do not look through references: with such a filter, all changes count.
    const through = JSON.stringify(query.where ?? "").includes('"where":') || typeof query.where === "string";
    const watched = { fields: ["id"], ...(query.where && !through && { where: query.where }) };
    (async () => {
      for await (const _ of this.watch(watched, { signal: limit.signal })) note();
    })().catch(note);
    try {
      for (;;) {
        while (!changed) await new Promise((resolve) => (wake = resolve));
        if (failed) throw failed;
        changed = false;
        yield await this.list(query, { signal: limit.signal });
        await pause(TOGETHER, limit.signal);
      }
    } finally {
      limit.end();
      limit.release();
    }
  }
}

