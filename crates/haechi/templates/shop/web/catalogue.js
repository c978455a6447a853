// The public catalogue: found by name, ordered, page by page; prices are never stale.
import { field, h, options } from "./dom.js";
import { cents, price, t } from "./texts.js";

const ORDERS = { "By name": { name: "asc" }, "Cheapest first": { price: "asc" }, "Dearest first": { price: "desc" } };

export function catalogue(haechi, me, signal, show) {
  const asked = { text: "", order: "By name", token: undefined };
  const list = h("ul", { className: "products" });
  const status = h("p", { className: "status", role: "status" });
  const before = h("button", { type: "button", hidden: true }, t("Page before"));
  const next = h("button", { type: "button", hidden: true }, t("Next page"));
  let asking = new AbortController();

  const add = async (product) => {
    if (!me) return show("cart");
    try {
      const [line] = (await haechi.cart_lines.list({ where: { product: product.id } })).items;
      if (line) await haechi.cart_lines.update(line.id, { amount: Math.min(99, line.amount + 1) });
      else await haechi.cart_lines.create({ product: product.id });
      status.textContent = `${product.name}: ${t("In your cart.")}`;
    } catch (error) {
      status.textContent = error.message;
    }
  };

  const card = (product) =>
    h(
      "li",
      { className: "product" },
      h("h2", {}, product.name),
      h("p", { className: "about" }, product.about ?? ""),
      h("p", { className: "price" }, price(cents(product.price))),
      h("button", { type: "button", "aria-label": `${t("Add to cart")}: ${product.name}`, onclick: () => add(product) }, t("Add to cart")),
    );

  const ask = async () => {
    asking.abort();
    asking = new AbortController();
    const mine = asking;
    signal.addEventListener("abort", () => mine.abort(), { signal: mine.signal });
    const where = { published: true, ...(asked.text && { or: [{ name: { contains: asked.text } }, { about: { contains: asked.text } }] }) };
    try {
      for await (const page of haechi.products.live({ where, order: ORDERS[asked.order], page_size: 12, page_token: asked.token }, { signal: mine.signal })) {
        list.replaceChildren(...page.items.map(card));
        if (!page.items.length) status.textContent = t("Nothing was found.");
        else if (status.textContent === t("Nothing was found.")) status.textContent = "";
        before.hidden = !page.prev_page_token;
        next.hidden = !page.next_page_token;
        before.onclick = () => change({ token: page.prev_page_token });
        next.onclick = () => change({ token: page.next_page_token });
      }
    } catch (error) {
      if (!mine.signal.aborted) status.textContent = error.message;
    }
  };
  const change = (what) => {
    Object.assign(asked, { token: undefined }, what);
    ask();
  };

  const search = h("input", { type: "search", name: "search" });
  let waiting;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => change({ text: search.value.trim() }), 250);
  });
  const order = h("select", { name: "order", onchange: (event) => change({ order: event.target.value }) }, options(Object.keys(ORDERS).map((name) => [name, t(name)]), asked.order));
  ask();
  return h("div", {}, h("h1", {}, t("Catalogue")), h("div", { className: "asked" }, field(t("Search"), search), field(t("Order"), order)), status, list, h("div", { className: "pages" }, before, next));
}
