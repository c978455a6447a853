// The cart, and what makes an order of it: all at once, or nothing.
import { field, h, submitting } from "./dom.js";
import { cents, price, t } from "./texts.js";

export function cart(haechi, me, signal) {
  const list = h("ul", { className: "lines" });
  const total = h("p", { className: "total" });
  const status = h("p", { className: "status", role: "status" });
  const nothing = h("p", { className: "nothing", hidden: true }, t("Your cart is empty."));
  const address = h("textarea", { name: "address", required: true, maxLength: 400, rows: 3, autocomplete: "street-address" });
  const form = h("form", { className: "card", hidden: true }, total, field(t("Where to send it"), address), status, h("button", { className: "main" }, t("Place the order")));
  let lines = [];

  const line = ({ id, amount, _expanded: { product } }) => {
    const count = h("input", { type: "number", min: 1, max: 99, value: amount, "aria-label": `${t("Amount")}: ${product?.name}` });
    const tell = (error) => (status.textContent = error.message);
    count.addEventListener("change", () => haechi.cart_lines.update(id, { amount: Number(count.value) }).catch(tell));
    return h(
      "li",
      {},
      h("span", { className: "what" }, product?.name ?? "?"),
      count,
      h("span", { className: "price" }, product ? price(cents(product.price) * amount) : "–"),
      h("button", { className: "quiet", type: "button", "aria-label": `${t("Remove")}: ${product?.name}`, onclick: () => haechi.cart_lines.delete(id).catch(tell) }, t("Remove")),
    );
  };

  const follow = async () => {
    const query = { where: { person: me.id }, order: { create_time: "asc" }, expand: { product: { fields: ["name", "price"] } }, page_size: 100 };
    for await (const { items } of haechi.cart_lines.live(query, { signal })) {
      lines = items.filter(({ _expanded }) => _expanded.product);
      list.replaceChildren(...items.map(line));
      nothing.hidden = items.length > 0;
      form.hidden = lines.length === 0;
      const sum = lines.reduce((all, { amount, _expanded }) => all + amount * cents(_expanded.product.price), 0);
      total.replaceChildren(`${t("Total")}: `, h("strong", {}, price(sum)));
    }
  };

  submitting(form, status, async (given) => {
    // The price that was shown is sent along. When it has changed meanwhile, nothing is ordered.
    await haechi.batch([
      { create: "orders", as: "order", data: { address: given.address } },
      ...lines.map(({ product, amount, _expanded }) => ({ create: "order_lines", data: { order: "$order.id", product, amount, price: _expanded.product.price } })),
      { update: "orders", id: "$order.id", data: { state: "placed" } },
      { remove: "cart_lines", where: { person: me.id } },
    ]);
    location.hash = "orders";
  });
  follow().catch((error) => {
    if (!signal.aborted) status.textContent = error.message;
  });
  return h("div", {}, h("h1", {}, t("Cart")), nothing, list, form);
}
