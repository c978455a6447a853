// The page: the catalogue for everybody, cart and orders for those who are signed in.
import { Haechi } from "./haechi/client.js";
import { h } from "./dom.js";
import { language, switchLanguage } from "./language.js";
import { t } from "./texts.js";
import { signIn } from "./sign-in.js";
import { catalogue } from "./catalogue.js";
import { cart } from "./cart.js";
import { orders } from "./orders.js";

const haechi = new Haechi({ language, onSignedOut: () => start(t("Your session has ended. Sign in again.")) });
const PARTS = { catalogue, cart, orders };
const NAMES = { catalogue: "Catalogue", cart: "Cart", orders: "Orders" };

let me = null;
/** What goes on behind the part that is shown; it ends with it. */
let shown = new AbortController();

async function start(note) {
  const before = me;
  try {
    me = await haechi.auth.me();
  } catch (error) {
    const again = h("button", { className: "main", type: "button", onclick: () => start() }, t("Try again"));
    document.body.replaceChildren(h("main", {}, h("div", { className: "card narrow" }, h("h1", {}, t("Shop")), h("p", { role: "alert" }, error.message), again)));
    return;
  }
  show(note && before ? "sign-in" : location.hash.slice(1), note);
}

/** Shows a part; those who are needed for it and not there sign in first. */
function show(part, note) {
  shown.abort();
  shown = new AbortController();
  const name = PARTS[part] ? part : "catalogue";
  const asks = part === "sign-in" || (!me && name !== "catalogue");
  const link = (key) =>
    h("li", {}, h("a", { href: `#${key}`, "aria-current": !asks && key === name ? "page" : null }, t(NAMES[key])));
  const other = h("button", { className: "quiet", type: "button", lang: language === "ko" ? "en" : "ko", onclick: switchLanguage }, language === "ko" ? "English" : "한국어");
  const header = h(
    "header",
    { className: "top" },
    h("span", { className: "brand" }, h("img", { src: "icon.svg", alt: "", width: 24, height: 24 }), t("Shop")),
    h("nav", {}, h("ul", {}, ["catalogue", "cart", "orders"].map(link))),
    h("span", { className: "space" }),
    other,
    me
      ? h("button", { className: "quiet", type: "button", onclick: out }, t("Sign out"))
      : h("button", { className: "quiet", type: "button", onclick: () => show("sign-in") }, t("Sign in")),
  );
  const done = async () => {
    await start();
  };
  const main = h("main", {}, asks ? signIn(haechi, done, note) : PARTS[name](haechi, me, shown.signal, show));
  document.body.replaceChildren(header, main);
  document.title = t("Shop");
}

async function out() {
  await haechi.auth.signOut().catch(() => {});
  me = null;
  location.hash = "";
  show("catalogue");
}

addEventListener("hashchange", () => show(location.hash.slice(1)));
start();
