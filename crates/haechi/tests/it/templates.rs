//! The pages of the templates, in a browser: a team from signing up to a conflict that is merged, a shop from its catalogue to an order.

use crate::{clients::Browser, generated::template, network};
use haechi_testkit::{Backend, TestApp};
use serde_json::json;

/// What somebody does on a page, in words of the page.
const HANDS: &str = r#"
window.problems = [];
addEventListener("error", (event) => problems.push(event.message));
addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => problems.push(event.violatedDirective));
window.named = (label, root = document) => {
  const found = [...root.querySelectorAll("label")].filter((one) => one.textContent === label && one.offsetParent);
  return document.getElementById(found.at(-1)?.htmlFor);
};
window.type = (label, text) => {
  const control = named(label);
  control.value = text;
  control.dispatchEvent(new Event("input", { bubbles: true }));
  control.dispatchEvent(new Event("change", { bubbles: true }));
};
window.press = (text) => [...document.querySelectorAll("button")].filter((one) => one.textContent === text && one.offsetParent).at(-1).click();
window.says = (text) => document.body.innerText.includes(text);
true
"#;

async fn start(name: &str) -> (TestApp, network::Running) {
    let files = template(name);
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let app = TestApp::start(Backend::Sqlite, &files).await;
    let server = network::run(&app, None, 2_000).await;
    (app, server)
}

/// Signs somebody up on the page that is open.
async fn sign_up(browser: &mut Browser, name: &str) {
    browser.evaluate(HANDS).await;
    browser.until("Boolean(document.querySelector('form'))", &json!(true)).await;
    browser.evaluate("press('Sign up'), true").await;
    let fill = format!("type('Name', '{name}'), type('Address', '{name}@example.com'), type('Password', 'too short'), press('Sign up'), true");
    browser.evaluate(&fill).await;
    browser.until("says('has fewer than 15 characters')", &json!(true)).await;
    browser.evaluate("type('Password', 'seven purple otters dance'), press('Sign up'), true").await;
    browser.until("says('New project')", &json!(true)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_team_works_on_its_page() {
    let (app, server) = start("team").await;
    let mut browser = Browser::open(&format!("http://{}", server.address)).await;
    sign_up(&mut browser, "kim").await;
    browser.evaluate("type('New project', 'Moon base'), press('Create'), true").await;
    browser.until("document.querySelector('.heading h1')?.textContent", &json!("Moon base")).await;
    browser.evaluate("type('New task', '<b>Dig</b>'), press('Add'), true").await;
    browser.until("says('<b>Dig</b>') && says('T-001')", &json!(true)).await;
    browser.picture("team.png").await;

    // Somebody else changes it in another tab: the list shows it by itself.
    let other = "import('/haechi/client.js').then(async ({ Haechi }) => { window.other = new Haechi(); window.task = (await other.tasks.list()).items[0]; \
                 await other.tasks.update(task.id, { title: 'Dig deeper' }); return true; })";
    browser.evaluate(other).await;
    browser.until("says('Dig deeper') && !says('<b>Dig</b>')", &json!(true)).await;
    browser.evaluate("press('Dig deeper'), true").await;
    browser.until("document.querySelector('dialog')?.open", &json!(true)).await;

    // Both change it meanwhile. What only the other changed is taken over, what both changed is asked about.
    browser.evaluate("other.tasks.update(task.id, { priority: 'high', due: '2030-01-02' }).then(() => true)").await;
    browser.evaluate("type('State', 'doing'), type('Due', '2030-05-06'), press('Save'), true").await;
    browser.until("says('Somebody has changed this task meanwhile: kim')", &json!(true)).await;
    assert_eq!(browser.evaluate("[named('State').value, named('Priority').value, named('Due').value]").await, json!(["doing", "high", "2030-05-06"]));
    browser.picture("team-conflict.png").await;
    let choose = "[...document.querySelectorAll('.conflict label')].find((one) => one.textContent.includes('Theirs')).querySelector('input').click(), named('Due').value";
    assert_eq!(browser.evaluate(choose).await, json!("2030-01-02"));
    browser.evaluate("press('Save'), true").await;
    browser.until("says('Saved.')", &json!(true)).await;
    let kept = "other.tasks.get(task.id).then(({ title, state, priority, due }) => [title, state, priority, due])";
    assert_eq!(browser.evaluate(kept).await, json!(["Dig deeper", "doing", "high", "2030-01-02"]));
    browser.evaluate("type('Write a comment', 'Two shovels.'), press('Send'), true").await;
    browser.until("document.querySelector('.comments')?.textContent.includes('Two shovels.')", &json!(true)).await;
    browser.evaluate("press('Close'), true").await;

    // Filters, orders and pages.
    browser.evaluate("Promise.all(Array.from({ length: 24 }, (_, at) => other.tasks.create({ project: task.project, title: `Task ${at}`, due: `2029-01-${String(at + 1).padStart(2, '0')}` }))).then(() => true)").await;
    browser.until("document.querySelector('.count').textContent + document.querySelectorAll('tbody tr').length", &json!("25 tasks20")).await;
    browser.evaluate("type('Order', 'Due first'), true").await;
    browser.until("document.querySelector('tbody tr')?.textContent.includes('Task 0')", &json!(true)).await;
    browser.evaluate("press('Next page'), true").await;
    browser.until("document.querySelectorAll('tbody tr').length", &json!(5)).await;
    browser.evaluate("press('Page before'), true").await;
    browser.until("document.querySelectorAll('tbody tr').length", &json!(20)).await;
    browser.evaluate("type('State', 'doing'), true").await;
    browser.until("document.querySelector('.count').textContent", &json!("1 tasks")).await;

    // After the page was loaded again, the session goes on, and so does changing.
    browser.evaluate("window.old = true, location.reload(), true").await;
    browser.until("window.old === undefined && document.querySelector('.count')?.textContent", &json!("25 tasks")).await;
    browser.evaluate(HANDS).await;
    browser.evaluate("type('New task', 'After the reload'), press('Add'), true").await;
    browser.until("says('After the reload')", &json!(true)).await;
    browser.evaluate("press('Sign out'), true").await;
    browser.until("says('No account yet?')", &json!(true)).await;
    assert_eq!(browser.evaluate("problems").await, json!([]));
    drop(browser);
    server.end().await;
    app.finish().await;
}

/// Another tab signs in as somebody else: what was begun in the first is not done as them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tabs_do_not_act_for_each_other() {
    let (app, server) = start("team").await;
    let mut browser = Browser::open(&format!("http://{}", server.address)).await;
    let tabs = r#"import('/haechi/client.js').then(async ({ Haechi }) => {
      const [first, second] = [new Haechi(), new Haechi()];
      const account = (name) => ({ email: `${name}@example.com`, password: "seven purple otters dance" });
      for (const name of ["kim", "lee"]) await first.auth.signUp({ ...account(name), profile: { name } });
      await first.auth.signIn(account("kim"));
      const kept = [first.token ?? null, document.cookie];
      const mine = await first.projects.create({ name: "Kim's" });
      await second.auth.signIn(account("lee"));
      const refused = await first.projects.create({ name: "whose?" }).catch((error) => error.kind);
      await second.projects.create({ name: "Lee's" });
      const seen = (await second.projects.list()).items.map(({ name }) => name);
      // Signed in anew as the same person, in the other tab: the first goes on by itself.
      await second.auth.signIn(account("kim"));
      const again = new Haechi();
      await again.auth.me();
      await again.projects.update(mine.id, { name: "Kim's own" });
      await second.auth.signIn(account("kim"));
      const renamed = await again.projects.update(mine.id, { name: "Kim's again" });
      await second.auth.signOut();
      const out = await again.projects.update(mine.id, { name: "x" }).catch((error) => error.kind);
      return [kept, refused, seen, renamed.name, out, await again.auth.me()];
    })"#;
    let found = browser.evaluate(tabs).await;
    assert_eq!(found, json!([[null, ""], "unauthenticated", ["Lee's"], "Kim's again", "unauthenticated", null]));
    drop(browser);
    server.end().await;
    app.finish().await;
}

/// Anybody looks at the catalogue; a customer orders, all at once or not at all, and at the price of the day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_orders_on_the_page_of_the_shop() {
    let (app, server) = start("shop").await;
    let sam = app.person("sam", &["staff"]).await;
    let tea = sam.create("products", json!({ "code": "TEA", "name": "Green tea", "price": "4.50", "published": true })).await;
    sam.create("products", json!({ "code": "NEW", "name": "Not yet", "price": "9.00" })).await;
    let mut browser = Browser::open(&format!("http://{}", server.address)).await;
    browser.evaluate(HANDS).await;
    browser.until("says('Green tea') && !says('Not yet')", &json!(true)).await;
    // A new price stands there by itself.
    sam.patch(&format!("/api/v1/products/{tea}"), json!({ "price": "5.00" })).await.expect(200);
    browser.until("says('€5.00')", &json!(true)).await;
    browser.evaluate("press('Add to cart'), true").await;
    browser.until("says('No account yet?')", &json!(true)).await;
    browser.evaluate("press('Sign up'), true").await;
    browser
        .evaluate("type('Name', 'Ann'), type('Address', 'ann@example.com'), type('Password', 'seven purple otters dance'), press('Sign up'), true")
        .await;
    browser.until("says('Green tea') && says('Sign out')", &json!(true)).await;
    browser.evaluate("press('Add to cart'), true").await;
    browser.until("says('In your cart.')", &json!(true)).await;
    browser.evaluate("press('Add to cart'), true").await;
    browser.until("fetch('/auth/v1/me').then((reply) => reply.status)", &json!(200)).await;
    browser.evaluate("location.hash = 'cart', true").await;
    browser.until("says('€10.00')", &json!(true)).await;
    browser.picture("shop-cart.png").await;

    // A page whose client is offline does not learn of a new price: what it sends is refused as a whole, and the cart stays.
    let stale = format!(
        "import('/haechi/client.js').then(async ({{ Haechi }}) => {{ const haechi = new Haechi(); const data = (price) => [\
         {{ create: 'orders', as: 'o', data: {{ address: 'x' }} }}, {{ create: 'order_lines', data: {{ order: '$o.id', product: '{tea}', amount: 1, price }} }}];\
         const refused = await haechi.batch(data('0.01')).catch((error) => error.kind);\
         return [refused, (await haechi.orders.list()).items.length, (await haechi.cart_lines.list()).items[0].amount]; }})"
    );
    assert_eq!(browser.evaluate(&stale).await, json!(["forbidden", 0, 2]));
    browser.evaluate("type('Where to send it', '1 Harbour Street'), press('Place the order'), true").await;
    browser.until("/O-\\d{4}-00001/.test(document.body.innerText) && says('2 × Green tea') && says('placed')", &json!(true)).await;
    // Staff move it on, and the page shows it.
    let order = sam.get("/api/v1/orders").await.expect(200).json()["items"][0].clone();
    assert_eq!(order["address"], "1 Harbour Street");
    sam.patch(&format!("/api/v1/orders/{}", order["id"].as_str().unwrap()), json!({ "state": "paid" })).await.expect(200);
    browser.until("says('paid') && !says('Cancel the order')", &json!(true)).await;
    browser.evaluate("location.hash = 'cart', true").await;
    browser.until("says('Your cart is empty.')", &json!(true)).await;
    assert_eq!(browser.evaluate("problems").await, json!([]));
    drop(browser);
    server.end().await;
    app.finish().await;
}
