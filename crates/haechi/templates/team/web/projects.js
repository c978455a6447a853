// The projects that somebody is in, and the people of a project.
import { field, h, options, submitting } from "./dom.js";
import { t } from "./texts.js";
import { tasks } from "./tasks.js";

export function projects(haechi, me, signal) {
  const list = h("ul", { className: "projects" });
  const place = h("section", { className: "project" });
  let known = [];
  let open = null;
  /** What goes on for the open project. */
  let running = new AbortController();

  const show = (project) => {
    running.abort();
    running = new AbortController();
    signal.addEventListener("abort", () => running.abort(), { signal: running.signal });
    open = project?.id ?? null;
    if (project) history.replaceState(null, "", `#${project.id}`);
    place.replaceChildren(...(project ? [heading(project), tasks(haechi, me, project, running.signal)] : [empty()]));
    draw();
  };

  const heading = (project) =>
    h(
      "div",
      { className: "heading" },
      h("h1", {}, project.name),
      h("button", { type: "button", onclick: () => people(haechi, me, project, signal) }, t("People")),
    );

  const empty = () => h("div", { className: "card" }, h("h1", {}, t("Your first project")), h("p", {}, t("A project holds tasks and the people who work on them.")), create());

  const create = () => {
    const status = h("p", { className: "status", role: "status" });
    const form = h(
      "form",
      { className: "inline" },
      field(t("New project"), h("input", { name: "name", required: true, maxLength: 120 })),
      h("button", {}, t("Create")),
      status,
    );
    return submitting(form, status, async ({ name }) => {
      const made = await haechi.projects.create({ name });
      form.reset();
      const { items } = await haechi.projects.list({ order: { name: "asc" }, page_size: 200 }, { signal });
      known = items;
      show(known.find(({ id }) => id === made.id));
    });
  };

  const draw = () => {
    const item = (project) =>
      h("li", {}, h("button", { type: "button", "aria-current": project.id === open ? "true" : null, onclick: () => show(project) }, project.name));
    list.replaceChildren(...known.map(item));
  };

  const follow = async () => {
    for await (const { items } of haechi.projects.live({ order: { name: "asc" }, page_size: 200 }, { signal })) {
      const before = known.find(({ id }) => id === open);
      known = items;
      const now = known.find(({ id }) => id === open) ?? known.find(({ id }) => id === location.hash.slice(1)) ?? known[0];
      if (!place.firstChild || now?.id !== open || now?.name !== before?.name) show(now);
      else draw();
    }
  };
  follow().catch(() => {});
  return h("div", { className: "columns" }, h("nav", { "aria-label": t("Projects") }, h("h2", {}, t("Projects")), list, create()), place);
}

/** Who is in a project; its lead adds and removes them. */
async function people(haechi, me, project, signal) {
  const leads = project.lead === me.id;
  const list = h("ul", { className: "people" });
  const status = h("p", { className: "status", role: "status" });
  const who = h("select", { name: "person", required: true });
  const role = h("select", { name: "role" }, options([["member", t("member")], ["guest", t("guest")]], "member"));
  const dialog = h("dialog", { "aria-labelledby": "people-title" });
  const named = (users, id) => users.find((user) => user.id === id)?.name ?? "?";

  const draw = async () => {
    const users = [];
    for await (const user of haechi.users.all({ fields: ["name"], order: { name: "asc" }, page_size: 200 }, { signal })) users.push(user);
    const { items } = await haechi.memberships.list({ where: { project: project.id }, page_size: 200 }, { signal });
    const leave = (membership) => async () => {
      await haechi.memberships.delete(membership.id).catch((error) => (status.textContent = error.message));
      if (membership.person === me.id && !leads) dialog.close();
      else await draw();
    };
    list.replaceChildren(
      h("li", {}, h("span", {}, named(users, project.lead)), h("span", { className: "tag" }, t("Lead"))),
      ...items.map((membership) =>
        h(
          "li",
          {},
          h("span", {}, named(users, membership.person)),
          h("span", { className: "tag" }, t(membership.role)),
          (leads || membership.person === me.id) && h("button", { className: "quiet", type: "button", onclick: leave(membership) }, t(leads ? "Remove" : "Leave")),
        ),
      ),
    );
    const inside = new Set([project.lead, ...items.map(({ person }) => person)]);
    who.replaceChildren(...options(users.filter(({ id }) => !inside.has(id)).map(({ id, name }) => [id, name ?? id.slice(-8)])));
  };

  const add = h("form", { className: "inline" }, field(t("Person"), who), field(t("Role"), role), h("button", {}, t("Add")));
  submitting(add, status, async (given) => {
    await haechi.memberships.create({ project: project.id, person: given.person, role: given.role });
    await draw();
  });
  const parts = h(
    "div",
    {},
    h("h2", { id: "people-title" }, t("People")),
    list,
    leads && add,
    leads && h("p", { className: "help" }, t("Members write tasks, guests only comment.")),
    status,
    h("div", { className: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, t("Close"))),
  );
  dialog.append(parts);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  await draw();
  dialog.showModal();
}
