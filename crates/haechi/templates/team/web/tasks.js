// The tasks of a project: filtered, ordered, page by page, and never stale.
import { h, field, options, submitting } from "./dom.js";
import { day, t } from "./texts.js";
import { STATES, edit } from "./task.js";

const ORDERS = {
  "Newest first": { create_time: "desc" },
  "Due first": { due: "asc nulls_last" },
  "Most important first": { priority: "desc", due: "asc nulls_last" },
};
const PAGE = 20;

export function tasks(haechi, me, project, signal) {
  const asked = { state: "", mine: false, title: "", order: "Newest first", token: undefined };
  const rows = h("tbody");
  const table = h(
    "table",
    {},
    h("thead", {}, h("tr", {}, ["Tasks", "State", "Priority", "Assignee", "Due"].map((name) => h("th", { scope: "col" }, t(name))))),
    rows,
  );
  const nothing = h("p", { className: "nothing", hidden: true }, t("No tasks here."));
  const count = h("span", { className: "count" });
  const live = h("span", { className: "live", role: "status" }, t("Connecting"));
  const before = h("button", { type: "button", hidden: true }, t("Page before"));
  const next = h("button", { type: "button", hidden: true }, t("Next page"));
  let people = new Map();
  let asking = new AbortController();

  const row = (task) =>
    h(
      "tr",
      { "data-id": task.id },
      h(
        "td",
        { className: "title" },
        h("button", { className: "link", type: "button", onclick: () => edit(haechi, me, project, task.id, people) }, task.title),
        h("span", { className: "number" }, task.number),
      ),
      h("td", { "data-label": t("State") }, h("span", { className: `tag ${task.state}` }, t(task.state))),
      h("td", { "data-label": t("Priority") }, h("span", { className: `priority ${task.priority}` }, t(task.priority))),
      h("td", { "data-label": t("Assignee") }, task.assignee ? (people.get(task.assignee) ?? "?") : "–"),
      h("td", { "data-label": t("Due") }, day(task.due) || "–"),
    );

  /** Shows what is asked for, and follows it until something else is. */
  const ask = async () => {
    asking.abort();
    asking = new AbortController();
    const mine = asking;
    signal.addEventListener("abort", () => mine.abort(), { signal: mine.signal });
    const where = {
      project: project.id,
      ...(asked.state && { state: asked.state }),
      ...(asked.mine && { assignee: me.id }),
      ...(asked.title && { title: { contains: asked.title } }),
    };
    const query = { where, order: ORDERS[asked.order], page_size: PAGE, count: true, page_token: asked.token };
    try {
      people = new Map();
      for await (const user of haechi.users.all({ fields: ["name"], page_size: 200 }, { signal: mine.signal })) people.set(user.id, user.name ?? "?");
      for await (const page of haechi.tasks.live(query, { signal: mine.signal })) {
        rows.replaceChildren(...page.items.map(row));
        nothing.hidden = page.items.length > 0;
        table.hidden = page.items.length === 0;
        count.textContent = `${page.total_size} ${t("tasks")}`;
        before.hidden = !page.prev_page_token;
        next.hidden = !page.next_page_token;
        before.onclick = () => turn(page.prev_page_token);
        next.onclick = () => turn(page.next_page_token);
        live.textContent = t("Live");
        live.dataset.on = "";
      }
    } catch (error) {
      if (mine.signal.aborted) return;
      live.textContent = error.message;
      delete live.dataset.on;
    }
  };
  const turn = (token) => {
    asked.token = token;
    ask();
  };
  const change = (what) => {
    Object.assign(asked, what, { token: undefined });
    ask();
  };

  const search = h("input", { type: "search", name: "search" });
  let waiting;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => change({ title: search.value.trim() }), 250);
  });
  const state = h("select", { name: "state", onchange: (event) => change({ state: event.target.value }) }, options([["", t("All")], ...STATES.map((name) => [name, t(name)])], ""));
  const order = h("select", { name: "order", onchange: (event) => change({ order: event.target.value }) }, options(Object.keys(ORDERS).map((name) => [name, t(name)]), asked.order));
  const whose = h("select", { name: "whose", onchange: (event) => change({ mine: event.target.value === "mine" }) }, options([["", t("All")], ["mine", t("Mine")]], ""));

  const status = h("p", { className: "status", role: "status" });
  const add = h("form", { className: "inline add" }, field(t("New task"), h("input", { name: "title", required: true, maxLength: 200 })), h("button", { className: "main" }, t("Add")), status);
  submitting(add, status, async ({ title }) => {
    await haechi.tasks.create({ project: project.id, title });
    add.reset();
  });

  ask();
  return h(
    "div",
    { className: "tasks" },
    add,
    h("div", { className: "asked" }, field(t("Search in titles"), search), field(t("State"), state), field(t("Assignee"), whose), field(t("Order"), order)),
    h("div", { className: "line" }, count, live),
    table,
    nothing,
    h("div", { className: "pages" }, before, next),
  );
}
