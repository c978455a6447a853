// Signing in and signing up.
import { field, h, submitting } from "./dom.js";
import { t } from "./texts.js";

export function signIn(haechi, done, note = "", joining = false) {
  const status = h("p", { className: "status", role: "status" }, note);
  const name = h("input", { name: "name", autocomplete: "name", maxLength: 120, required: true });
  const email = h("input", { name: "email", type: "email", autocomplete: "username", required: true });
  const password = h("input", { name: "password", type: "password", autocomplete: joining ? "new-password" : "current-password", required: true });
  const form = h(
    "form",
    { className: "card narrow" },
    h("h1", {}, t(joining ? "Sign up" : "Sign in")),
    joining && field(t("Name"), name),
    field(t("Address"), email),
    field(t("Password"), password, joining ? t("At least 15 characters, for example a few words.") : ""),
    status,
    h("button", { className: "main" }, t(joining ? "Sign up" : "Sign in")),
  );
  const other = h("button", { className: "link", type: "button" }, t(joining ? "Sign in" : "Sign up"));
  const all = h("div", {}, form, h("p", { className: "center" }, t(joining ? "Already here?" : "No account yet?"), " ", other));
  other.addEventListener("click", () => all.replaceWith(signIn(haechi, done, "", !joining)));
  submitting(form, status, async (given) => {
    const account = { email: given.email, password: given.password };
    if (joining) await haechi.auth.signUp({ ...account, profile: { name: given.name } });
    await haechi.auth.signIn(account);
    await done();
  });
  return all;
}
