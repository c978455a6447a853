// One's own orders; for staff everybody's, with what is done next.
import { h } from "./dom.js";
import { cents, price, t, time } from "./texts.js";

/** What follows which state, as collections/orders.toml says it. */
const NEXT = { placed: ["paid", "Mark as paid"], paid: ["sent", "Mark as sent"] };

export function orders(haechi, me, signal) {
  const staff = me.roles.includes("staff");
  const list = h("ul", { className: "orders" });
  const nothing = h("p", { className: "nothing", hidden: true }, t("No orders yet."));
  const status = h("p", { className: "status", role: "status" });
  const move = (order, state) => async () => {
    status.textContent = "";
    // Only in the state that is seen here: another one of the staff may have been faster.
    await haechi.orders.update(order.id, { state }, { version: order.version }).catch((error) => (status.textContent = error.message));
  };

  const one = (order) => {
    const { items: lines = [], more = true } = order._expanded.order_lines_by_order ?? {};
    const sum = lines.reduce((all, line) => all + line.amount * cents(line.price), 0);
    // Nobody says that an order was paid whose lines they do not all see.
    const next = staff && !more && NEXT[order.state];
    const cancels = order.state === "placed" && (staff || order.buyer === me.id);
    return h(
      "li",
      { className: "card" },
      h("h2", {}, order.number, " ", h("span", { className: `tag ${order.state}` }, t(order.state))),
      h("p", { className: "by" }, time(order.create_time)),
      h("ul", {}, lines.map((line) => h("li", {}, `${line.amount} × ${line._expanded?.product?.name ?? "?"}`))),
      h("p", { className: "address" }, order.address ?? ""),
      h("p", { className: "total" }, `${t("Total")}: `, h("strong", {}, more ? "…" : price(sum))),
      h(
        "div",
        { className: "buttons" },
        next && h("button", { className: "main", type: "button", onclick: move(order, next[0]) }, t(next[1])),
        cancels && h("button", { type: "button", onclick: move(order, "cancelled") }, t("Cancel the order")),
      ),
    );
  };

  const follow = async () => {
    const query = { where: { state: { ne: "draft" } }, expand: { order_lines_by_order: { first: 100, expand: { product: { fields: ["name"] } } } }, order: { create_time: "desc" }, page_size: 50 };
    for await (const { items } of haechi.orders.live(query, { signal })) {
      list.replaceChildren(...items.map(one));
      nothing.hidden = items.length > 0;
    }
  };
  follow().catch((error) => {
    if (!signal.aborted) status.textContent = error.message;
  });
  return h("div", {}, h("h1", {}, t("Orders")), status, nothing, list);
}
