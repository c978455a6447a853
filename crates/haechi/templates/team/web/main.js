// The page: who is signed in, and which project is shown.
import { Haechi } from "./haechi/client.js";
import { h } from "./dom.js";
import { language, switchLanguage } from "./language.js";
import { t } from "./texts.js";
import { signIn } from "./sign-in.js";
import { projects } from "./projects.js";

export const haechi = new Haechi({ language, onSignedOut: () => start(t("Your session has ended. Sign in again.")) });

/** What goes on behind the part that is shown; it ends with it. */
let shown = new AbortController();
let signedIn = false;

async function start(note) {
  if (note && !signedIn) return;
  signedIn = false;
  shown.abort();
  shown = new AbortController();
  let me;
  try {
    me = await haechi.auth.me();
  } catch (error) {
    const again = h("button", { className: "main", type: "button", onclick: () => start() }, t("Try again"));
    document.body.replaceChildren(header(null), h("main", {}, h("div", { className: "card narrow" }, h("h1", {}, t("Team")), h("p", { role: "alert" }, error.message), again)));
    return;
  }
  signedIn = me !== null;
  document.body.replaceChildren(header(me), h("main", { id: "main" }, me ? projects(haechi, me, shown.signal) : signIn(haechi, start, note)));
  document.title = t("Team");
}

function header(me) {
  const other = language === "ko" ? "English" : "한국어";
  const out = async () => {
    signedIn = false;
    await haechi.auth.signOut().catch(() => {});
    await start();
  };
  return h(
    "header",
    { className: "top" },
    h("span", { className: "brand" }, h("img", { src: "icon.svg", alt: "", width: 24, height: 24 }), t("Team")),
    h("span", { className: "space" }),
    me && h("span", { className: "who" }, me.email),
    h("button", { className: "quiet", type: "button", lang: language === "ko" ? "en" : "ko", onclick: switchLanguage }, other),
    me && h("button", { className: "quiet", type: "button", onclick: out }, t("Sign out")),
  );
}

start();
