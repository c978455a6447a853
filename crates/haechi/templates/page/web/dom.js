// Elements, made without markup: what somebody typed is text and nothing else.

/** `h("button", { class: "main", onclick }, "Save")` */
export function h(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list" && name !== "form") element[name] = value;
    else element.setAttribute(name === "className" ? "class" : name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

let last = 0;
/** A label above its control; `help` stands below it. */
export function field(label, control, help) {
  control.id ||= `field-${++last}`;
  const note = h("p", { className: "help", id: `${control.id}-help`, "data-help": help }, help);
  control.setAttribute("aria-describedby", note.id);
  return h("div", { className: "field" }, h("label", { htmlFor: control.id }, label), control, note);
}

export function options(choices, chosen) {
  return choices.map(([value, label]) => h("option", { value, selected: value === chosen }, label));
}

/** Shows what is wrong with fields beside them; what belongs to none of them is returned. */
export function showProblems(form, error) {
  for (const note of form.querySelectorAll(".help")) note.textContent = note.dataset.help ?? "";
  for (const control of form.elements) control.removeAttribute("aria-invalid");
  const rest = [];
  for (const { pointer, detail } of error?.errors ?? []) {
    const control = form.elements[pointer.split("/").pop()];
    if (!control) {
      rest.push(detail);
      continue;
    }
    control.setAttribute("aria-invalid", "true");
    document.getElementById(`${control.id}-help`).textContent = detail;
  }
  form.querySelector("[aria-invalid]")?.focus();
  return error && !error.errors?.length ? error.message : rest.join(" ");
}

/** Runs what a form does, once at a time. */
export function submitting(form, status, run) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const buttons = [...form.querySelectorAll("button")];
    buttons.forEach((button) => (button.disabled = true));
    status.textContent = "";
    try {
      showProblems(form);
      await run(Object.fromEntries(new FormData(form)));
    } catch (error) {
      status.textContent = showProblems(form, error);
    } finally {
      buttons.forEach((button) => (button.disabled = false));
    }
  });
  return form;
}
