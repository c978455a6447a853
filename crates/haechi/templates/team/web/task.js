// One task: changed by a form, merged when somebody else was faster, with its comments.
import { field, h, options, showProblems, submitting } from "./dom.js";
import { time, t } from "./texts.js";

export const STATES = ["todo", "doing", "done"];
const PRIORITIES = ["low", "normal", "high"];
const FIELDS = ["title", "state", "priority", "assignee", "starts", "due"];
/** Which state may follow which, as collections/tasks.toml says it. */
const FOLLOWS = { todo: ["todo", "doing"], doing: ["doing", "todo", "done"], done: ["done", "todo"] };

export async function edit(haechi, me, project, id, people) {
  const over = new AbortController();
  const dialog = h("dialog", { className: "wide", "aria-labelledby": "task-title" });
  dialog.addEventListener("close", () => {
    over.abort();
    dialog.remove();
  });
  document.body.append(dialog);
  let base;
  try {
    base = await haechi.tasks.get(id, {}, { signal: over.signal });
  } catch {
    dialog.append(h("p", {}, t("It is gone.")), h("button", { type: "button", onclick: () => dialog.close() }, t("Close")));
    dialog.showModal();
    return;
  }
  const { items: members } = await haechi.memberships.list({ where: { project: project.id }, page_size: 200 }, { signal: over.signal });
  const inside = [...new Set([project.lead, ...members.map(({ person }) => person)])];
  const writes = project.lead === me.id || members.some(({ person, role }) => person === me.id && role === "member");
  const name = (person) => people.get(person) ?? "?";

  const status = h("p", { className: "status", role: "status" });
  const conflict = h("div", { className: "conflict", role: "alert", hidden: true });
  const controls = {
    title: h("input", { name: "title", required: true, maxLength: 200 }),
    state: h("select", { name: "state" }),
    priority: h("select", { name: "priority" }, options(PRIORITIES.map((word) => [word, t(word)]))),
    assignee: h("select", { name: "assignee" }, options([["", t("Nobody")], ...inside.map((person) => [person, name(person)])])),
    starts: h("input", { name: "starts", type: "date" }),
    due: h("input", { name: "due", type: "date" }),
  };
  const labels = { title: "Title", state: "State", priority: "Priority", assignee: "Assignee", starts: "Starts", due: "Due" };
  const shown = (key, value) => (key === "assignee" ? (value ? name(value) : t("Nobody")) : key === "state" || key === "priority" ? t(value) : (value ?? "–"));

  /** Puts values into the form. */
  const fill = (values) => {
    controls.state.replaceChildren(...options(STATES.filter((word) => FOLLOWS[base.state].includes(word)).map((word) => [word, t(word)])));
    for (const key of FIELDS) controls[key].value = values[key] ?? "";
  };
  const mine = () => Object.fromEntries(FIELDS.map((key) => [key, controls[key].value === "" && key !== "title" ? null : controls[key].value]));

  /** Somebody was faster: what only they changed is taken over, what both changed is asked about. */
  const merge = async () => {
    const [theirs, ours] = [await haechi.tasks.get(id), mine()];
    const both = FIELDS.filter((key) => theirs[key] !== base[key] && ours[key] !== base[key] && theirs[key] !== ours[key]);
    const before = base;
    base = theirs;
    fill(Object.fromEntries(FIELDS.map((key) => [key, ours[key] === before[key] ? theirs[key] : ours[key]])));
    const choice = (key) => {
      const pick = (value) => () => (controls[key].value = value ?? "");
      const one = (label, value, checked) =>
        h("label", {}, h("input", { type: "radio", name: `choose-${key}`, checked, onchange: pick(value) }), ` ${t(label)}: `, h("strong", {}, shown(key, value)));
      return h("fieldset", {}, h("legend", {}, t(labels[key])), one("Yours", ours[key], true), one("Theirs", theirs[key], false));
    };
    conflict.replaceChildren(
      h("h3", {}, `${t("Somebody has changed this task meanwhile")}${theirs.changed_by ? `: ${name(theirs.changed_by)}` : ""}`),
      h("p", {}, t(both.length ? "Where both changed the same, choose, then save again." : "Their changes to other fields are taken over.")),
      ...both.map(choice),
    );
    conflict.hidden = false;
  };

  const remove = h("button", { className: "danger", type: "button" }, t("Delete"));
  remove.addEventListener("click", async () => {
    if (!confirm(t("Delete this task?"))) return;
    await haechi.tasks.delete(id, { version: base.version }).then(
      () => dialog.close(),
      (error) => (status.textContent = error.message),
    );
  });
  const form = h(
    "form",
    {},
    conflict,
    h("div", { className: "grid" }, FIELDS.map((key) => field(t(labels[key]), controls[key]))),
    status,
    h(
      "div",
      { className: "buttons" },
      writes && h("button", { className: "main" }, t("Save")),
      h("button", { type: "button", onclick: () => dialog.close() }, t("Close")),
      project.lead === me.id && remove,
    ),
  );
  submitting(form, status, async () => {
    const ours = mine();
    const changes = Object.fromEntries(FIELDS.filter((key) => ours[key] !== base[key]).map((key) => [key, ours[key]]));
    try {
      const saved = await haechi.tasks.update(id, changes, { version: base.version });
      if (saved.version === undefined) return dialog.close();
      base = saved;
      fill(base);
      conflict.hidden = true;
      status.textContent = t("Saved.");
    } catch (error) {
      if (error.kind !== "version-mismatch") throw error;
      await merge();
    }
  });
  fill(base);
  if (!writes) {
    Object.values(controls).forEach((control) => (control.disabled = true));
    status.textContent = t("You may look at this task, and not change it.");
  }

  dialog.append(h("h2", { id: "task-title" }, `${base.number} ${base.title}`), form, comments(haechi, id, name, over.signal));
  dialog.showModal();
}

function comments(haechi, task, name, signal) {
  const list = h("ul", { className: "comments" });
  const status = h("p", { className: "status", role: "status" });
  const text = h("textarea", { name: "text", required: true, maxLength: 4000, rows: 2 });
  const form = h("form", {}, field(t("Write a comment"), text), status, h("button", {}, t("Send")));
  submitting(form, status, async (given) => {
    await haechi.comments.create({ task, text: given.text });
    form.reset();
    showProblems(form);
  });
  const follow = async () => {
    for await (const { items } of haechi.comments.live({ where: { task }, order: { create_time: "asc" }, page_size: 100 }, { signal })) {
      const one = (comment) => h("li", {}, h("p", { className: "by" }, comment.author ? name(comment.author) : "?", " · ", time(comment.create_time)), h("p", {}, comment.text));
      list.replaceChildren(...items.map(one));
    }
  };
  follow().catch((error) => {
    if (!signal.aborted) status.textContent = error.message;
  });
  return h("section", { className: "talk" }, h("h3", {}, t("Comments")), list, form);
}
