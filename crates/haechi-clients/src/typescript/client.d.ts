// The client. What is particular to this app stands above.

/** The caller, in filters over people: `{ where: { lead: me } }`. */
export declare const me: Me;
export interface Me {
  readonly haechi: "me";
}

/** A value that is absent where you may not read it; the row names such fields in `_masked`. */
export type Masked<T> = T | undefined;

export type Name = keyof Rows;
/** A row of a collection, as you may see it. */
export type Row<C extends Name> = Rows[C];

// ---- filters ----

export interface Equal<T> {
  eq?: T | null;
  ne?: T | null;
  in?: readonly T[];
  not_in?: readonly T[];
}
export interface Compared<T> extends Equal<T> {
  lt?: T;
  lte?: T;
  gt?: T;
  gte?: T;
}
export interface Textual extends Compared<string> {
  contains?: string;
  starts_with?: string;
}
export interface Reference<T, W> extends Equal<T> {
  /** What holds of the row that is referred to, as far as you may read it. */
  where?: W;
}
export interface Listing<T> {
  /** The list holds it. */
  has?: T;
  eq?: null;
  ne?: null;
}
export interface Joined<W> {
  and?: readonly W[];
  or?: readonly W[];
  not?: W;
}

export type Direction = "asc" | "desc" | "asc nulls_first" | "asc nulls_last" | "desc nulls_first" | "desc nulls_last";

// ---- expansions ----

/** Which rows are shown beside a row: those that it refers to, and those that refer to it (`comments_by_task`). */
export type Expand<C extends Name> = { [K in keyof Refers[C]]?: true | Inner<Extract<Refers[C][K], Name>> } & {
  [K in keyof Lists[C]]?: true | Inner<Extract<Lists[C][K], Name>>;
} & {
  /** The first 20, when `first` does not say it. */
  [K in keyof Referring[C]]?: true | (Inner<Extract<Referring[C][K], Name>> & { first?: number });
};
export interface Inner<C extends Name> {
  fields?: readonly (keyof Rows[C])[];
  expand?: Expand<C>;
}

type Picked<C extends Name, Q> = Q extends { fields: readonly (infer F)[] } ? Pick<Rows[C], Extract<F, keyof Rows[C]> | Extract<"id" | "_masked", keyof Rows[C]>> : Rows[C];
type Shown<C extends Name, E> = {
  readonly [K in keyof E & keyof Refers[C]]?: Seen<Extract<Refers[C][K], Name>, E[K]>;
} & {
  readonly [K in keyof E & keyof Lists[C]]?: Seen<Extract<Lists[C][K], Name>, E[K]>[];
} & {
  readonly [K in keyof E & keyof Referring[C]]?: { readonly items: Seen<Extract<Referring[C][K], Name>, E[K]>[]; readonly more: boolean };
};
/** What a query shows of a row. A row beside it that you may not read is absent. */
export type Seen<C extends Name, Q> = Picked<C, Q> & (Q extends { expand: infer E } ? { readonly _expanded: Shown<C, E> } : unknown);

/** Nothing but what there is: what TypeScript does not look at in values of generic types. */
type Strict<T, Known> = T & { [K in Exclude<keyof T, Known>]: never };
type StrictExpand<C extends Name, E> = {
  [K in keyof E]: K extends keyof Refers[C]
    ? StrictInner<Extract<Refers[C][K], Name>, E[K]>
    : K extends keyof Lists[C]
      ? StrictInner<Extract<Lists[C][K], Name>, E[K]>
      : K extends keyof Referring[C]
        ? StrictInner<Extract<Referring[C][K], Name>, E[K]>
        : never;
};
type StrictInner<C extends Name, I> = I extends { expand: infer E } ? I & { expand: StrictExpand<C, E> } : I;
type Exact<C extends Name, Q> = Strict<Q, keyof Query<C>> &
  (Q extends { expand: infer E } ? { expand: StrictExpand<C, E> } : unknown) &
  (Q extends { order: infer O } ? { order: Strict<O, Orders[C]> } : unknown);

// ---- queries ----

export interface Query<C extends Name> {
  where?: Wheres[C] | string;
  order?: { readonly [F in Orders[C]]?: Direction };
  fields?: readonly (keyof Rows[C])[];
  expand?: Expand<C>;
  page_size?: number;
  page_token?: string | undefined;
  /** Adds `total_size`. */
  count?: boolean;
}
export interface Page<T> {
  readonly items: T[];
  readonly next_page_token?: string;
  readonly prev_page_token?: string;
  readonly total_size?: number;
}

/** What is left of a row whose writer may no longer read it. */
export interface Unseen {
  readonly id: string;
  readonly version?: undefined;
}
export type Written<C extends Name> = Rows[C] | Unseen;

export interface Aggregate<C extends Name> {
  where?: Wheres[C] | string;
  by?: readonly Orders[C][];
  sum?: readonly Sums[C][];
  avg?: readonly Sums[C][];
  min?: readonly Orders[C][];
  max?: readonly Orders[C][];
}
type Asked<F> = F extends readonly (infer K)[] ? K : never;
type Nullable<T> = { readonly [K in keyof T]: Exclude<T[K], undefined> | null };
type Of<C extends Name, F> = Nullable<Pick<Rows[C], Extract<Asked<F>, keyof Rows[C]>>>;
type Part<A, F extends string, T> = F extends keyof A ? { readonly [K in F]: T } : unknown;
/** The results of one group; what was not asked for is absent. Sums of whole numbers and decimals are exact, as texts. */
export type Group<C extends Name, A extends Aggregate<C>> = { readonly key: Of<C, A["by"]>; readonly count: number } & Part<
  A,
  "sum",
  { readonly [K in Extract<Asked<A["sum"]>, string>]: string | number | null }
> &
  Part<A, "avg", { readonly [K in Extract<Asked<A["avg"]>, string>]: number | null }> &
  Part<A, "min", Of<C, A["min"]>> &
  Part<A, "max", Of<C, A["max"]>>;

export type Change<T> =
  | { readonly type: "ready" }
  /** What you see may be another list now: read it again. */
  | { readonly type: "resync" }
  | { readonly type: "create" | "update"; readonly id: string; readonly record: T }
  /** It was deleted, or you no longer see it. */
  | { readonly type: "delete"; readonly id: string };

// ---- options of a call ----

export interface Call {
  /** Ends the call, its retries and its streams. */
  signal?: AbortSignal | undefined;
}
export interface Writing extends Call {
  /** Makes the change happen once, also over calls; without one, over the retries of this call. */
  idempotency_key?: string;
}
export interface Versioned extends Writing {
  /** The version that the row must still have (`If-Match`); otherwise the kind is `version-mismatch`. */
  version?: number;
}

export interface Collection<C extends Name> {
  get<Q extends Pick<Query<C>, "fields" | "expand"> = {}>(id: string, query?: Exact<C, Q>, options?: Call): Promise<Seen<C, Q>>;
  /** A page. */
  list<Q extends Query<C> = {}>(query?: Exact<C, Q>, options?: Call): Promise<Page<Seen<C, Q>>>;
  /** All pages, one after the other. */
  pages<Q extends Query<C> = {}>(query?: Exact<C, Q>, options?: Call): AsyncGenerator<Page<Seen<C, Q>>, void, undefined>;
  /** All rows of all pages. */
  all<Q extends Query<C> = {}>(query?: Exact<C, Q>, options?: Call): AsyncGenerator<Seen<C, Q>, void, undefined>;
  aggregate<A extends Aggregate<C> = {}>(question?: A, options?: Call): Promise<Group<C, A>[]>;
  create(data: Creates[C], options?: Writing): Promise<Written<C>>;
  update(id: string, data: Patches[C], options?: Versioned): Promise<Written<C>>;
  delete(id: string, options?: Versioned): Promise<void>;
  /** Changes the row with this unique key, or creates it. */
  upsert(on: Keys[C], data: Creates[C], options?: Writing): Promise<Written<C>>;
  /** Changes all rows that the filter finds, at most 1 000, or none. */
  change(where: Wheres[C] | string, data: Patches[C], options?: Writing): Promise<Many>;
  /** Deletes all rows that the filter finds, at most 1 000, or none. */
  remove(where: Wheres[C] | string, options?: Writing): Promise<Many>;
  /** Changes from now on. A stream that breaks off is opened again after its last position; what cannot be told is a `resync`. */
  watch<Q extends Pick<Query<C>, "where" | "fields"> = {}>(query?: Exact<C, Q>, options?: Call): AsyncGenerator<Change<Seen<C, Q>>, void, undefined>;
  /** The page that a query finds, now and anew after each change. */
  live<Q extends Query<C> = {}>(query?: Exact<C, Q>, options?: Call): AsyncGenerator<Page<Seen<C, Q>>, void, undefined>;
}
export interface Many {
  readonly count: number;
  readonly ids: string[];
}

// ---- batches ----

export type Operation = {
  [C in Name]:
    | (C extends "users" ? never : { create: C; as?: string; data: Creates[C] })
    | { update: C; id: string; data: Patches[C]; if_match?: number }
    | (C extends "users" ? never : { upsert: C; on: Keys[C]; as?: string; data: Creates[C] })
    | { delete: C; id: string; if_match?: number }
    | { change: C; where: Wheres[C] | string; data: Patches[C] }
    | { remove: C; where: Wheres[C] | string };
}[Name];
export type Result<O> = O extends { create: infer C extends Name }
  ? Written<C>
  : O extends { update: infer C extends Name }
    ? Written<C>
    : O extends { upsert: infer C extends Name }
      ? Written<C>
      : O extends { delete: Name }
        ? { readonly id: string; readonly _deleted: true }
        : Many;

// ---- people ----

export interface Session {
  readonly session: string;
  readonly expire_time: string;
  readonly user: string;
  readonly token?: string;
  readonly device?: string;
  readonly csrf_token?: string;
}
export interface Caller {
  readonly kind: "user" | "service";
  readonly id: string;
  readonly roles: string[];
  readonly email?: string;
  readonly session?: string;
  readonly auth_time?: string;
}
export interface Auth {
  /** Proof that this device has signed in before; kept by browsers themselves, to be stored by others. */
  device?: string;
  signUp(account: { email: string; password: string; profile?: Partial<Creates["users"]>; invitation?: string }, options?: Call): Promise<{ next: "sign-in" }>;
  signIn(account: { email: string; password: string; device?: string }, options?: Call): Promise<Session>;
  signOut(options?: Call): Promise<void>;
  /** Who one is; `null` for nobody. */
  me(options?: Call): Promise<Caller | null>;
  changePassword(passwords: { current_password: string; new_password: string }, options?: Call): Promise<Session>;
  setPassword(code: { code: string; new_password: string }, options?: Call): Promise<null>;
  sessions(options?: Call): Promise<{ id: string; create_time: string; seen_time: string; expire_time: string; address: string; agent: string; current?: boolean }[]>;
  endSession(id: string, options?: Call): Promise<null>;
  endOtherSessions(options?: Call): Promise<null>;
  keys(options?: Call): Promise<{ id: string; label: string; hint: string; scopes: string[]; create_time: string; expire_time: string }[]>;
  createKey(key: { label: string; scopes: string[]; expire_time?: string }, options?: Call): Promise<{ id: string; key: string; expire_time: string }>;
  revokeKey(id: string, options?: Call): Promise<null>;
}

// ---- problems ----

export interface FieldProblem {
  /** Where in what was sent (RFC 6901), as `/title`. */
  readonly pointer: string;
  readonly code: string;
  readonly detail: string;
}
/** A problem (RFC 9457), as the server sends it. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly request_id: string;
  readonly errors?: FieldProblem[];
}
/** What the server, or the way to it, answered instead of a result. */
export declare class HaechiError extends Error {
  /** The kind of problem; `unreachable` without a reply, `unexpected` when it was not Haechi that answered. */
  readonly kind: ProblemKind | "unreachable" | "unexpected";
  /** 0 without a reply. */
  readonly status: number;
  readonly title: string;
  readonly errors: readonly FieldProblem[];
  readonly request_id?: string;
  /** Seconds. */
  readonly retry_after?: number;
}

// ---- the client ----

export interface Options {
  /** Where Haechi is, without a path; in a page of its own origin nothing. */
  url?: string;
  /** A bearer token: a session, or a key. */
  token?: string;
  /** Whether sessions stand in a cookie; by itself in pages of the same origin, unless there is a token. */
  cookie?: boolean;
  /** Longest time of one attempt, in milliseconds: 30 000. */
  timeout?: number;
  /** A stream on which nothing is heard for so long is opened again, in milliseconds: 50 000. The server says something every 20 seconds. */
  silence?: number;
  /** How often what may be repeated is repeated: 4. */
  retries?: number;
  /** The language of problems, as `ko`; by itself that of the browser. */
  language?: string;
  /** Called when a credential is no longer good. */
  onSignedOut?: (error: HaechiError) => void;
  fetch?: typeof fetch;
}
export interface Request extends Versioned {
  body?: unknown;
  /** It changes nothing, so that it may be repeated. */
  reads?: boolean;
  /** It is never sent twice. */
  once?: boolean;
}

declare class Client {
  constructor(options?: Options);
  readonly auth: Auth;
  readonly cookie: boolean;
  /** The bearer token that requests carry. */
  readonly token: string | undefined;
  /** Changes that happen all or none, with a result for each. */
  batch<O extends readonly Operation[]>(operations: readonly [...O], options?: Writing): Promise<{ [I in keyof O]: Result<O[I]> }>;
  /** Any other request. */
  request<T = unknown>(method: string, path: string, options?: Request): Promise<T>;
}
/** The text of a filter, as `filter=` of REST takes it. */
export declare function filter<C extends Name>(where: Wheres[C] | string): string;
