// What the types of a client say of an app, and what they refuse. Checked by tsc, never run.
import { Haechi, HaechiError, me, type Masked, type Page_, type Page_Publish, type Project, type ProblemKind, type Task } from "./client.js";
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_: Same<A, B>) => {};
const haechi = new Haechi({ url: "http://127.0.0.1:8080", token: "x" });
const page = await haechi.tasks.list({ where: { state: "todo", project: { where: { lead: me } }, or: [{ title: { contains: "x" } }, { due: null }] }, order: { due: "desc nulls_last", title: "asc" }, count: true });
const task: Task = page.items[0]!;
same<typeof task.assignee, string | null>(true);
same<typeof task.state, "todo" | "doing" | "done">(true);
const some = await haechi.tasks.list({ fields: ["title", "due"] });
same<(typeof some.items)[number]["title"], string>(true);
// @ts-expect-error: it was not asked for
some.items[0]!.state;
const wide = await haechi.tasks.get("x", { expand: { project: { fields: ["name"], expand: { lead: true } }, comments_by_task: { first: 5 } } });
const named: string | undefined = wide._expanded.project?.name;
const email: string | undefined | null = wide._expanded.project?._expanded.lead?.name;
const texts: string[] | undefined = wide._expanded.comments_by_task?.items.map((comment) => comment.text);
// @ts-expect-error: lead is of the project
wide._expanded.lead;
const made = await haechi.tasks.create({ project: "p", title: "t" });
const id: string = made.id;
if (made.version !== undefined) { const title: string = made.title; }
// @ts-expect-error: it may be that one may no longer see it
made.title;
// @ts-expect-error: a title is needed
await haechi.tasks.create({ project: "p" });
// @ts-expect-error: read only
await haechi.tasks.create({ project: "p", title: "t", number: "T-1" });
// @ts-expect-error: no such word
await haechi.tasks.update(id, { state: "gone" }, { version: 3 });
// @ts-expect-error: a number, not a text
haechi.tasks.list({ where: { version: { lt: "3" } } });
// @ts-expect-error: bool has no order… and there is no such field
haechi.tasks.list({ order: { nothing: "asc" } });
await haechi.memberships.upsert(["project", "person"], { project: "p", person: "q" });
// @ts-expect-error: no such key
await haechi.memberships.upsert(["project"], { project: "p", person: "q" });
// @ts-expect-error: people are not created
haechi.users.create;
const groups = await haechi.tasks.aggregate({ by: ["state"], max: ["due"], sum: ["version"] });
same<(typeof groups)[number]["key"]["state"], "todo" | "doing" | "done" | null>(true);
const most: string | null = groups[0]!.max.due;
// @ts-expect-error: not asked for, so it is not there
groups[0]!.avg;
// @ts-expect-error: without `by` there is no key
(await haechi.tasks.aggregate())[0]!.key.title;
// @ts-expect-error: names nothing
haechi.tasks.list({ expand: { project: true, nope: true } });
// @ts-expect-error: names nothing, further in
haechi.tasks.list({ expand: { project: { expand: { nope: true } } } });
// @ts-expect-error: names no field
haechi.tasks.list({ order: { title: "asc", nope: "asc" } });
// @ts-expect-error: people sign up
haechi.batch([{ create: "users", data: {} }]);
// @ts-expect-error: not asked for
groups[0]!.max.title;
const [first, second, third] = await haechi.batch([
  { create: "projects", as: "p", data: { name: "x" } },
  { create: "tasks", data: { project: "$p.id", title: "y" } },
  { change: "tasks", where: { state: "done" }, data: { state: "todo" } },
]);
same<typeof first, Project | import("./client.js").Unseen>(true);
const count: number = third.count;
for await (const change of haechi.tasks.watch({ fields: ["title"] })) {
  if (change.type === "create") { const title: string = change.record.title; }
  // @ts-expect-error: a delete tells no record
  if (change.type === "delete") change.record;
}
for await (const { items } of haechi.tasks.live({ where: { state: "todo" } })) { const first: Task | undefined = items[0]; }
for await (const row of haechi.tasks.all({ page_size: 100 }, { signal: new AbortController().signal })) row.title;
try { await haechi.tasks.delete("x"); } catch (error) {
  if (error instanceof HaechiError && error.kind === "version-mismatch") error.errors.map((place) => place.pointer);
  // @ts-expect-error: no such kind
  if (error instanceof HaechiError && error.kind === "nonsense") throw error;
}
const kind: ProblemKind = "busy";

// Names that the client has itself, and what may be masked.
const other: Page_ = (await haechi.pages.list()).items[0]!;
same<typeof other.salary, Masked<number | null>>(true);
same<typeof other.born, Masked<string>>(true);
same<typeof other.tags, string[] | null>(true);
same<typeof other.price, string | null>(true);
same<typeof other.any, unknown>(true);
const hidden: ("salary" | "born")[] | undefined = other._masked;
await haechi.pages.list({ where: { tags: { has: "x" }, watchers: { has: me }, price: { gte: "1.50" } } });
// @ts-expect-error: a day must be there, though others may not see it
await haechi.pages.create({ title: "x" });
const note: Page_Publish = { note: "good" };
await haechi.pages.publish("id", note, { version: 3, idempotency_key: "k" });
// @ts-expect-error: the note is needed
await haechi.pages.publish("id");
await haechi.pages.list_all("id");
// @ts-expect-error: it has no unique key
haechi.pages.upsert;
