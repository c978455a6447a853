//! Every finding about jobs, provoked.

use super::folders::{first, folder, found, write};

/// What is wrong in a job: the text below `[jobs.remind]`.
const JOBS: &[(&str, &str, &str)] = &[
    ("", "missing-key", "does not say as whom"),
    ("as = 5", "wrong-type", "must be a string"),
    ("as = \"clerk\"", "wrong-value", "as = \"caller\""),
    ("as = \"service:biling\"", "unknown-name", "did you mean `service:billing`?"),
    ("as = \"service:x\"", "unknown-name", "[services.x]"),
    ("as = \"caller\"", "missing-key", "does nothing"),
    ("as = \"caller\"\ndo = 5", "wrong-type", "must be a table"),
    ("as = \"caller\"\ndo = {}", "wrong-value", "names nothing to do"),
    ("as = \"caller\"\ndo = { handler = true, delete = \"notes\" }", "wrong-value", "exactly one of"),
    ("as = \"caller\"\ndo = { handler = false }", "wrong-value", "write handler = true"),
    ("as = \"caller\"\ndo = { handler = 5 }", "wrong-type", "true or false"),
    ("as = \"caller\"\ndo = { mail = \"welcome\" }", "not-built", "remove `mail`"),
    ("as = \"caller\"\ndo = { call = \"mailr\" }", "unknown-name", "did you mean `mailer`?"),
    ("as = \"caller\"\ndo = { call = \"mailer\", path = \"remind\" }", "wrong-value", "is no path"),
    ("as = \"caller\"\ndo = { call = \"mailer\", body = { id = { form = \"x\" } } }", "wrong-value", "{ from ="),
    ("as = \"caller\"\ndo = { call = \"mailer\", body = { id = 2026-01-01 } }", "wrong-type", "dates and times as texts"),
    ("as = \"caller\"\ndo = { create = \"nots\" }", "unknown-collection", "did you mean `notes`?"),
    ("as = \"caller\"\ndo = { create = \"users\" }", "wrong-value", "cannot create people"),
    ("as = \"caller\"\ndo = { delete = \"notes\" }", "missing-key", "needs `id`"),
    ("as = \"caller\"\ndo = { create = \"notes\", data = { titel = \"x\" } }", "unknown-field", "did you mean `title`?"),
    ("as = \"caller\"\ndo = { create = \"notes\", data = { version = 1 } }", "unknown-field", "can be written"),
    ("as = \"caller\"\ndo = { create = \"notes\", data = { title = 5 } }", "wrong-value", "a value that the field takes"),
    ("as = \"caller\"\ndo = { create = \"notes\", data = { title = 2026-01-01 } }", "wrong-type", "dates and times as texts"),
    ("as = \"caller\"\ndo = { create = \"notes\", data = { title = { form = \"x\" } } }", "wrong-value", "{ from ="),
    ("as = \"caller\"\ndo = { create = \"notes\", data = { title = { from = \"/input/x\" } } }", "unknown-field", "declare the field"),
    ("as = \"caller\"\ndo = { handler = true }\ninput = { note = { type = \"uuid\" } }\nkey = \"/input/nots\"", "unknown-field", "did you mean"),
    ("as = \"caller\"\ndo = { handler = true }\ninput = { note = { type = \"ref\", to = \"notes\" } }", "wrong-type", "type = \"uuid\""),
    ("as = \"caller\"\ndo = { handler = true }\ninput = { note = { type = \"uuid\", unique = true } }", "unknown-key", "in the input of a job"),
    ("as = \"caller\"\ndo = { handler = true }\nqueue = \"mial\"", "unknown-name", "did you mean `mail`?"),
    ("as = \"caller\"\ndo = { handler = true }\nattempts = 0", "out-of-range", "from 1 to 100"),
    ("as = \"caller\"\ndo = { handler = true }\nattempt = 5", "unknown-key", "did you mean `attempts`?"),
];

/// Jobs, queues and the services that they run as.
pub(crate) fn jobs() {
    let main = "roles = [\"clerk\"]\n[services.billing]\nroles = [\"clerk\"]\n[egress.mailer]\nurl = \"https://mail.example.com\"\n";
    let good = "[jobs.remind]\nas = \"caller\"\ndo = { handler = true }\n";
    let with = |main: &str, jobs: &str| {
        let root = folder();
        write(&root, "haechi.toml", main.as_bytes());
        write(&root, "jobs/a.toml", jobs.as_bytes());
        found(&root, &[])
    };
    assert_eq!(with(main, good), []);
    for (text, code, words) in JOBS {
        first(&with(main, &format!("[queues.mail]\nconcurrency = 2\n[jobs.remind]\n{text}\n")), text, code, words);
    }
    let fields: String = (0..61).map(|at| format!("f{at} = {{ type = \"int\" }}\n")).collect();
    let many: String = (0..201).map(|at| good.replace("remind", &format!("j{at}"))).collect();
    let queues: String = (0..33).map(|at| format!("[queues.q{at}]\n")).collect();
    for (jobs, code, words) in [
        ("jobs = 5", "wrong-type", "must be a table"),
        ("[jobs]\nremind = 5", "wrong-type", "write [jobs.remind]"),
        ("[jobs.Remind]", "bad-name", "not a name"),
        ("[queues.Mail]", "bad-name", "not a name"),
        ("[queues]\nmail = 5", "wrong-type", "write [queues.mail]"),
        ("[queues.mail]\nconcurrency = 65", "out-of-range", "from 1 to 64"),
        ("[job.remind]", "unknown-key", "did you mean `jobs`?"),
        (&format!("{good}[jobs.remind.input]\n{fields}"), "too-many-fields", "more than 60"),
        (&many, "too-many-jobs", "more than 200"),
        (&queues, "too-many-queues", "more than 32"),
    ] {
        first(&with(main, jobs), jobs, code, words);
    }
    for (main, code, words) in [
        ("[services]\nbilling = 5", "wrong-type", "write [services.billing]"),
        ("[services.Billing]", "bad-name", "not a name"),
        ("[egress]\nmailer = 5", "wrong-type", "write [egress.mailer]"),
        ("[egress.Mailer]", "bad-name", "not a name"),
        ("[egress.mailer]", "missing-key", "has no `url`"),
        ("[egress.mailer]\nurl = \"mail\"", "bad-url", "is no address"),
        ("[egress.mailer]\nurl = \"https://kim:x@mail.example.com\"", "bad-url", "bearer ="),
        ("[egress.mailer]\nurl = \"https://mail.example.com/path\"", "bad-url", "has a path"),
        ("[egress.mailer]\nurl = \"http://mail.example.com\"", "bad-url", "over TLS at port 443"),
        ("[egress.mailer]\nurl = \"https://mail.example.com:8443\"", "bad-url", "over TLS at port 443"),
        ("[egress.mailer]\nurl = \"http://mail.internal:8080\"\nnetworks = [\"10.20.0.0/99\"]", "bad-network", "is no network"),
        ("[egress.mailer]\nurl = \"https://mail.example.com\"\nbearer = \"secret\"", "literal-secret", "as a literal"),
        ("roles = [\"clerk\"]\n[services.billing]\nroles = [\"clrk\"]", "unknown-role", "did you mean `clerk`?"),
    ] {
        first(&with(main, ""), main, code, words);
    }
    for (one, other, words) in
        [(good, good, "the job `remind` is declared twice"), ("[queues.mail]", "[queues.mail]", "the queue `mail` is declared twice")]
    {
        let root = folder();
        write(&root, "jobs/a.toml", one.as_bytes());
        write(&root, "jobs/b.toml", other.as_bytes());
        first(&found(&root, &[]), words, "clash", words);
    }
    for folder in ["events", "sagas", "projections", "flags"] {
        let root = super::folders::folder();
        write(&root, &format!("{folder}/x.toml"), b"");
        first(&found(&root, &[]), folder, "not-built", "which are not built yet");
    }
    schedules(main);
}

/// What is wrong in a schedule: what stands beside `name`, `cron` and `job`.
const SCHEDULES: &[(&str, &str, &str)] = &[
    ("cron = \"* * * * *\"\njob = \"plain\"", "missing-key", "no `name`"),
    ("name = \"Nightly\"\ncron = \"* * * * *\"\njob = \"plain\"", "bad-name", "not a name"),
    ("name = \"nightly\"\njob = \"plain\"", "missing-key", "no `cron`"),
    ("name = \"nightly\"\ncron = \"61 * * * *\"\njob = \"plain\"", "bad-schedule", "`61`"),
    ("name = \"nightly\"\ncron = \"0 0 31 2 *\"\njob = \"plain\"", "bad-schedule", "never fires"),
    (
        "name = \"nightly\"\ncron = \"*/10 2 8 3 */7\"\nzone = \"America/New_York\"\njob = \"plain\"",
        "bad-schedule",
        "never fires in America/New_York",
    ),
    ("name = \"nightly\"\ncron = \"0 2 * * *\"\nzone = \"Asia/Soul\"\njob = \"plain\"", "bad-schedule", "no time zone is named `Asia/Soul`"),
    ("name = \"nightly\"\ncron = \"0 2 * * *\"", "missing-key", "no `job`"),
    ("name = \"nightly\"\ncron = \"0 2 * * *\"\njob = \"plan\"", "unknown-name", "did you mean `plain`?"),
    ("name = \"nightly\"\ncron = \"0 2 * * *\"\njob = \"own\"", "wrong-value", "a schedule is nobody"),
    ("name = \"nightly\"\ncron = \"0 2 * * *\"\njob = \"plain\"\nmissed = \"never\"", "wrong-value", "one of once, skip, all"),
    ("name = \"nightly\"\ncron = \"0 2 * * *\"\njob = \"plain\"\noverlap = \"wait\"", "wrong-value", "one of skip, queue, allow"),
    ("name = \"nightly\"\ncron = \"0 2 * * *\"\njob = \"plain\"\ninput = { many = 5 }", "unknown-field", "has no input `many`"),
    ("name = \"nightly\"\ncron = \"0 2 * * *\"\njob = \"needs\"", "missing-key", "needs the input `count`"),
    ("name = \"nightly\"\ncron = \"0 2 * * *\"\njob = \"needs\"\ninput = { count = \"x\" }", "wrong-value", "a value that the field takes"),
];

fn schedules(main: &str) {
    let jobs = "[jobs.plain]\nas = \"service:billing\"\ndo = { handler = true }\n[jobs.own]\nas = \"caller\"\ndo = { handler = true }\n\
                [jobs.needs]\nas = \"service:billing\"\ndo = { handler = true }\ninput = { count = { type = \"int\", required = true } }\n";
    let with = |schedules: &str| {
        let root = folder();
        write(&root, "haechi.toml", main.as_bytes());
        write(&root, "jobs/a.toml", format!("{jobs}{schedules}").as_bytes());
        found(&root, &[])
    };
    let good = |name: &str| {
        format!("[[schedule]]\nname = \"{name}\"\ncron = \"30 2 * * *\"\nzone = \"Asia/Seoul\"\njob = \"needs\"\ninput = {{ count = 5 }}\n")
    };
    assert_eq!(with(&good("nightly")), []);
    for (text, code, words) in SCHEDULES {
        first(&with(&format!("[[schedule]]\n{text}\n")), text, code, words);
    }
    // Only the job's own fault is told.
    let faulty = with("[jobs.bad]\nas = \"clerk\"\ndo = { handler = true }\n[[schedule]]\nname = \"nightly\"\ncron = \"* * * * *\"\njob = \"bad\"\n");
    assert!(faulty.len() == 1 && faulty[0].1 == "wrong-value", "{faulty:?}");
    first(&with(&good("nightly").repeat(2)), "twice", "clash", "declared twice");
    let many: String = (0..201).map(|at| good(&format!("s{at}"))).collect();
    first(&with(&many), "many", "too-many-schedules", "more than 200");
}
