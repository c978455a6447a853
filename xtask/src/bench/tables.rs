//! Conditions over tables of some size: each question asked of Haechi under a policy, and of the database by hand in every form.
//!
//! The tables have the shape of a data set of flights: crews, carriers, planes, airports, flights.

use super::{
    client,
    servers::{self, Served, Server},
};
use crate::{Outcome, run as run_command, services::Postgres};
use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

const FLIGHTS: usize = 340_000;
const PLANES: usize = 120_000;
const CARRIERS: usize = 400;
const AIRPORTS: usize = 105;
/// How many planes each crew keeps; the last keeps the rest.
const KEPT: &[(&str, usize)] = &[("few", 5), ("some", 1_458), ("more", 3_322), ("many", 100_000)];
/// Each question is asked so often; the median counts.
const TIMES: usize = 7;
/// A ratio to the best form by hand above this is a failure.
const BOUND: f64 = 3.0;

/// A condition: the role that has it, as Cedar, and by hand with `{one}` or `{two}` for what goes through references.
const SHAPES: &[(&str, &str, &str)] = &[
    ("all", "resource.number >= 0", "t.number >= 0"),
    ("equal", "resource.crew == principal.crew", "t.crew = {crew}"),
    ("one", "resource.plane.keeper == principal.crew", "{one}"),
    ("two", "resource.plane.carrier.lead == principal.crew", "{two}"),
    ("or", "resource.crew == principal.crew || resource.plane.keeper == principal.crew", "(t.crew = {crew} OR {one})"),
    (
        "or_two",
        "resource.crew == principal.crew || resource.plane.keeper == principal.crew || resource.plane.carrier.lead == principal.crew",
        "(t.crew = {crew} OR {one} OR {two})",
    ),
    ("not", "!(resource.plane.keeper == principal.crew)", "NOT {one}"),
    ("not_or", "!(resource.crew == principal.crew || resource.plane.keeper == principal.crew)", "NOT (t.crew = {crew} OR {one})"),
];

/// A question: its name, the request, and by hand with `{condition}`.
const QUESTIONS: &[(&str, &str, &str)] = &[
    ("list", "GET /api/v1/flights?page_size=20", "SELECT t.* FROM flights t WHERE {condition} ORDER BY t.id LIMIT 21"),
    (
        "range",
        "GET /api/v1/flights?page_size=20&filter=number%3E%3D100000%20AND%20number%3C110000&order_by=number",
        "SELECT t.* FROM flights t WHERE t.number >= 100000 AND t.number < 110000 AND {condition} ORDER BY t.number, t.id LIMIT 21",
    ),
    ("count", "{flights_aggregate{count}}", "SELECT count(*) FROM flights t WHERE {condition}"),
];

/// The forms that a hand would choose among: a name, through one reference and through two.
fn forms(postgres: bool) -> Vec<(&'static str, &'static str, &'static str)> {
    let mut forms = vec![
        (
            "IN",
            "t.plane IN (SELECT p.id FROM planes p WHERE p.keeper = {crew})",
            "t.plane IN (SELECT p.id FROM planes p WHERE p.carrier IN (SELECT c.id FROM carriers c WHERE c.lead = {crew}))",
        ),
        (
            "EXISTS",
            "EXISTS (SELECT 1 FROM planes p WHERE p.id = t.plane AND p.keeper = {crew})",
            "EXISTS (SELECT 1 FROM planes p JOIN carriers c ON c.id = p.carrier WHERE p.id = t.plane AND c.lead = {crew})",
        ),
    ];
    if postgres {
        forms.push((
            "ARRAY",
            "t.plane = ANY(ARRAY(SELECT p.id FROM planes p WHERE p.keeper = {crew}))",
            "t.plane = ANY(ARRAY(SELECT p.id FROM planes p JOIN carriers c ON c.id = p.carrier WHERE c.lead = {crew}))",
        ));
    }
    forms
}

fn id(kind: usize, at: usize) -> String {
    format!("01920000-{kind:04x}-7000-8000-{at:012x}")
}

/// The crew that keeps a plane.
fn keeper(plane: usize) -> usize {
    let mut from = 0;
    for (crew, (_, count)) in KEPT.iter().enumerate() {
        from += count;
        if plane < from {
            return crew;
        }
    }
    KEPT.len() + plane % 100
}

fn write_app(folder: &Path, database: &str) -> Result<(), String> {
    let write = |path: &str, text: &str| servers::put(folder, path, text);
    let roles: Vec<String> = SHAPES.iter().map(|(role, ..)| format!("\"{role}\"")).collect();
    let limits = "[limits]\ncaller_per_minute = 10_000_000\nanonymous_per_minute = 10_000_000\n";
    write("haechi.toml", &format!("roles = [{}]\n{limits}{database}", roles.join(", ")))?;
    write("collections/users.toml", "[fields]\ncrew = { type = \"ref\", to = \"crews\", required = true }\n")?;
    write("collections/crews.toml", "[fields]\nname = { type = \"text\", required = true }\n")?;
    write("collections/carriers.toml", "[fields]\nlead = { type = \"ref\", to = \"crews\", required = true }\n")?;
    write(
        "collections/planes.toml",
        "[fields]\nkeeper = { type = \"ref\", to = \"crews\", required = true }\ncarrier = { type = \"ref\", to = \"carriers\", required = true }\n",
    )?;
    write("collections/airports.toml", "[fields]\ncode = { type = \"text\", required = true }\n")?;
    write(
        "collections/flights.toml",
        "[fields]\nplane = { type = \"ref\", to = \"planes\", required = true }\ncrew = { type = \"ref\", to = \"crews\", required = true }\n\
         origin = { type = \"ref\", to = \"airports\", required = true }\nnumber = { type = \"int\", required = true }\ndelay = { type = \"int\" }\n\
         [[indexes]]\nfields = [\"number\"]\n",
    )?;
    let mut policies = String::new();
    for (role, condition, _) in SHAPES {
        let _ = writeln!(
            policies,
            "permit (principal is users in Role::\"{role}\", action in [Action::\"list\", Action::\"read\"], resource is flights) when {{ {condition} }};"
        );
    }
    write("policies/main.cedar", &policies)?;
    let crews: String = (0..KEPT.len() + 100).fold("id,name\n".to_owned(), |text, at| text + &format!("{},crew {at}\n", id(1, at)));
    write("seed/crews.csv", &crews)?;
    // Each crew leads as many planes through carriers as it keeps, about.
    let carriers =
        (0..CARRIERS).fold("id,lead\n".to_owned(), |text, at| text + &format!("{},{}\n", id(2, at), id(1, keeper(at * PLANES / CARRIERS))));
    write("seed/carriers.csv", &carriers)?;
    let planes = (0..PLANES).fold("id,keeper,carrier\n".to_owned(), |mut text, at| {
        let _ = writeln!(text, "{},{},{}", id(3, at), id(1, keeper(at)), id(2, at * CARRIERS / PLANES));
        text
    });
    write("seed/planes.csv", &planes)?;
    write("seed/airports.csv", &(0..AIRPORTS).fold("id,code\n".to_owned(), |text, at| text + &format!("{},A{at}\n", id(4, at))))?;
    let mut users = "id,email,roles,crew\n".to_owned();
    for (role_at, (role, ..)) in SHAPES.iter().enumerate() {
        for (crew, (who, _)) in KEPT.iter().enumerate() {
            let _ = writeln!(users, "{},{role}-{who}@example.test,\"[\"\"{role}\"\"]\",{}", id(5, role_at * 10 + crew), id(1, crew));
        }
    }
    write("seed/users.csv", &users)?;
    let flights = (0..FLIGHTS).fold("id,plane,crew,origin,number,delay\n".to_owned(), |mut text, at| {
        let delay = if at % 37 == 0 { String::new() } else { (at % 300).to_string() };
        let _ = writeln!(
            text,
            "{},{},{},{},{at},{delay}",
            id(6, at),
            id(3, at * 7919 % PLANES),
            id(1, at * 31 % (KEPT.len() + 100)),
            id(4, at % AIRPORTS)
        );
        text
    });
    write("seed/flights.csv", &flights)
}

/// Haechi over the tables.
struct House(Served);

impl House {
    fn start(name: &str, database: &str) -> Result<Self, String> {
        let started = Instant::now();
        let house = Self(Served::start(&format!("tables-{name}"), |folder| write_app(folder, database))?);
        println!("{name}: {FLIGHTS} flights and what they refer to were imported in {:.1} s", started.elapsed().as_secs_f64());
        Ok(house)
    }

    fn token(&self, person: &str) -> Result<String, String> {
        Ok(self.0.command(&["token", person])?.trim().to_owned())
    }

    /// Median time of a question, milliseconds.
    fn ask(&self, token: &str, question: &str) -> Result<f64, String> {
        let request = match question.strip_prefix("GET ") {
            Some(path) => format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n").into_bytes(),
            None => client::post("/graphql", token, &format!("{{\"query\":\"{question}\"}}")),
        };
        let mut stream = TcpStream::connect(self.0.address()).map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let mut buffer = vec![0; 256 * 1024];
        let mut times = Vec::with_capacity(TIMES);
        for _ in 0..=TIMES {
            let started = Instant::now();
            stream.write_all(&request).map_err(|error| error.to_string())?;
            let status = client::reply(&mut stream, &mut buffer).map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&buffer);
            if status != 200 || text.contains("\"errors\"") {
                return Err(format!("{question}: {}", text.trim_end_matches('\0')));
            }
            times.push(started.elapsed().as_secs_f64() * 1000.0);
        }
        Ok(median(times))
    }
}

/// The database by hand.
struct Hand {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Hand {
    fn start(target: &str) -> Result<Self, String> {
        let mut command = Command::new(servers::built("bench-raw"));
        let mut child = command.args(["--ask", target]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
        let (Some(ask), Some(answers)) = (child.stdin.take(), child.stdout.take()) else { return Err("no pipe".to_owned()) };
        Ok(Self { child, ask, answers: BufReader::new(answers) })
    }

    /// Median time of a statement, milliseconds; infinite when it took too long.
    fn ask(&mut self, sql: &str) -> Result<f64, String> {
        let mut times = Vec::with_capacity(TIMES);
        for _ in 0..=TIMES {
            writeln!(self.ask, "{sql}").map_err(|error| error.to_string())?;
            let mut line = String::new();
            self.answers.read_line(&mut line).map_err(|error| error.to_string())?;
            let ms: f64 = line.trim().parse().map_err(|_| format!("`{sql}` was answered with `{line}`"))?;
            if ms > 1_500.0 {
                return Ok(ms);
            }
            times.push(ms);
        }
        Ok(median(times))
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Without the first, which warms up.
fn median(mut times: Vec<f64>) -> f64 {
    times.remove(0);
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

pub(super) fn run() -> Outcome {
    run_command(Command::new(crate::cargo()).args(["build", "--release", "--package", "haechi", "--package", "bench-raw"]))?;
    let mut above = Vec::new();
    let sqlite = House::start("SQLite", "")?;
    let file = sqlite.0.folder.join(".haechi/haechi.db").display().to_string();
    compare("SQLite", &sqlite, &file, &mut above)?;
    drop(sqlite);
    let postgres = Postgres::start()?;
    let house = House::start("PostgreSQL", &format!("[database]\nurl = \"{}\"\n", postgres.url()))?;
    compare("PostgreSQL", &house, &postgres.url(), &mut above)?;
    if above.is_empty() {
        println!("none above {BOUND}× of the best form by hand");
        Ok(())
    } else {
        Err(format!("above {BOUND}× of the best form by hand: {}", above.join(", ")))
    }
}

fn compare(name: &str, house: &House, target: &str, above: &mut Vec<String>) -> Outcome {
    let mut hand = Hand::start(target)?;
    // Seals and statistics of the import come first.
    std::thread::sleep(Duration::from_secs(3));
    // The cost of a request with an empty result: the credential, the policy, the reply.
    let nothing = house.ask(&house.token("all-few")?, "GET /api/v1/flights?page_size=1&number=-1")?;
    let page = house.ask(&house.token("all-few")?, "GET /api/v1/flights?page_size=20")?;
    println!("{name}: milliseconds; a request that finds nothing takes {nothing:.2}, a page of any rows {page:.2}");
    println!("{:<8} {:<6} {:<6} {:>10} {:>10} {:>7}   the best form by hand", "rule", "planes", "what", "haechi", "by hand", "ratio");
    for (role, _, condition) in SHAPES {
        for (crew, (who, _)) in KEPT.iter().enumerate() {
            let token = house.token(&format!("{role}-{who}"))?;
            for (what, question, sql) in QUESTIONS {
                let ours = house.ask(&token, question)?;
                let mut best = (f64::INFINITY, "");
                for (form, one, two) in forms(name == "PostgreSQL") {
                    let condition = condition.replace("{one}", one).replace("{two}", two).replace("{crew}", &format!("'{}'", id(1, crew)));
                    let sql = sql.replace("{condition}", &condition);
                    let ms = hand.ask(&sql)?;
                    if ms < best.0 {
                        best = (ms, form);
                    }
                }
                let floor = if *what == "count" { nothing } else { page };
                let ratio = (ours - floor).max(0.0) / best.0;
                println!("{role:<8} {who:<6} {what:<6} {ours:>10.2} {:>10.2} {ratio:>7.2}   {}", best.0, best.1);
                // Below a millisecond the difference is that of two round trips.
                if ratio > BOUND && ours - floor > 1.0 {
                    above.push(format!("{name} {role} {who} {what} ({ratio:.1})"));
                }
            }
        }
    }
    Ok(())
}
