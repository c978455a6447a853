//! Reads `jobs/*.toml`.

use super::{Job, Queue, RunsAs, Schedule, effect::effect, known::Known, literal::pointed, schedule::read_schedules};
use crate::{
    draft::Draft,
    files::{files, read_file, with_table},
    finding::Findings,
    name::suggest,
    section::Section,
};
use std::{cell::RefCell, ops::RangeInclusive};

const MAX_JOBS: usize = 200;
const MAX_QUEUES: usize = 32;
const ATTEMPTS: (i64, RangeInclusive<i64>) = (12, 1..=100);
const TIMEOUT_MS: (i64, RangeInclusive<i64>) = (300_000, 1_000..=3_600_000);
const PRIORITY: (i64, RangeInclusive<i64>) = (5, 0..=9);
/// Reads the queues, jobs and schedules of a folder.
pub(crate) fn read_jobs(known: &Known<'_>, findings: &RefCell<Findings>) -> (Vec<Queue>, Vec<Job>, Vec<Schedule>) {
    let (mut found, mut named): (Vec<Job>, Vec<String>) = (Vec::new(), Vec::new());
    let mut queues = vec![Queue { name: Queue::DEFAULT.to_owned(), concurrency: Queue::CONCURRENCY, per_minute: None }];
    let sources: Vec<_> = files(known.root, "jobs", "toml", findings).iter().filter_map(|path| read_file(known.root, path, findings)).collect();
    // Queues of all files come first: a job may wait in one of another file.
    for source in &sources {
        with_table(source, findings, |top| read_queues(&top, &mut queues));
    }
    for source in &sources {
        with_table(source, findings, |top| {
            let _ = (top.item("queues"), top.item("schedule"));
            if let Some(jobs) = top.section("jobs") {
                named.extend(jobs.entries().into_iter().map(|(name, ..)| name.to_owned()));
                for (name, span, section) in jobs.named("the job") {
                    let Some(job) = read_job(name, section, known, &queues) else { continue };
                    if found.iter().any(|known| known.name == name) {
                        jobs.error(span, "clash", format!("the job `{name}` is declared twice"), "remove one of them");
                    } else if found.len() == MAX_JOBS {
                        jobs.error(span, "too-many-jobs", format!("more than {MAX_JOBS} jobs are declared"), "split the app");
                    } else {
                        found.push(job);
                    }
                }
            }
            top.finish();
        });
    }
    found.sort_by(|left, right| left.name.cmp(&right.name));
    // A job with a fault was named all the same: its schedule has none.
    named.retain(|name| !found.iter().any(|job| job.name == *name));
    let mut schedules = Vec::new();
    for source in &sources {
        with_table(source, findings, |top| read_schedules(&top, (&found, &named), &mut schedules));
    }
    (queues, found, schedules)
}

fn read_queues(top: &Section<'_>, found: &mut Vec<Queue>) {
    let Some(queues) = top.section("queues") else { return };
    for (name, span, section) in queues.named("the queue") {
        let concurrency = section.bounded("concurrency", 1..=64).unwrap_or(Queue::CONCURRENCY);
        let per_minute = section.bounded("per_minute", 1..=1_000_000);
        section.finish();
        let queue = Queue { name: name.to_owned(), concurrency, per_minute };
        match found.iter().position(|known| known.name == name) {
            // The default queue exists without being declared.
            Some(0) => found[0] = queue,
            Some(_) => queues.error(span, "clash", format!("the queue `{name}` is declared twice"), "remove one of them"),
            None if found.len() == MAX_QUEUES => {
                queues.error(span, "too-many-queues", format!("more than {MAX_QUEUES} queues are declared"), "let kinds of jobs share one");
            }
            None => found.push(queue),
        }
    }
}

fn read_job(name: &str, section: Section<'_>, app: &Known<'_>, queues: &[Queue]) -> Option<Job> {
    let input = Draft::input(&section, (name, "the input of a job"), app.classes, "the row is looked for when the job runs");
    let runs_as = runs_as(&section, app);
    let effect = effect(&section, app, &input);
    let key = section.text("key").and_then(|text| pointed(&section, section.span_of("key"), text, &input));
    let queue = section.text("queue").and_then(|wanted| {
        let found = queues.iter().position(|queue| queue.name == wanted);
        if found.is_none() {
            let help = suggest(wanted, queues.iter().map(|queue| queue.name.as_str()))
                .map_or_else(|| format!("declare it: [queues.{wanted}]"), |near| format!("did you mean `{near}`?"));
            section.error(section.span_of("queue"), "unknown-name", format!("no queue is named `{wanted}`"), help);
        }
        found
    });
    let number = |key, (otherwise, bounds): (i64, RangeInclusive<i64>)| section.bounded(key, bounds).unwrap_or(otherwise);
    let (priority, attempts, timeout_ms) = (number("priority", PRIORITY), number("attempts", ATTEMPTS), number("timeout_ms", TIMEOUT_MS));
    let declared = section.in_one_line();
    section.finish();
    let queue = queue.unwrap_or(0);
    Some(Job { name: name.to_owned(), input, effect: effect?, runs_as: runs_as?, key, queue, priority, attempts, timeout_ms, declared })
}

fn runs_as(section: &Section<'_>, app: &Known<'_>) -> Option<RunsAs> {
    let help = "write as = \"caller\", or as = \"service:NAME\" and declare its roles: [services.NAME] in haechi.toml";
    let Some(text) = section.text("as") else {
        if section.span_of("as").is_none() {
            section.error(None, "missing-key", "the job does not say as whom it runs".to_owned(), help);
        }
        return None;
    };
    if text == "caller" {
        return Some(RunsAs::Caller);
    }
    let span = section.span_of("as");
    let Some(name) = text.strip_prefix("service:") else {
        section.error(span, "wrong-value", format!("`as` is `{text}`"), help);
        return None;
    };
    if !app.services.iter().any(|service| service.name == name) {
        let help = suggest(name, app.services.iter().map(|service| service.name.as_str()))
            .map_or_else(|| format!("declare its roles in haechi.toml: [services.{name}]"), |near| format!("did you mean `service:{near}`?"));
        section.error(span, "unknown-name", format!("no service is declared as `{name}`"), help);
        return None;
    }
    Some(RunsAs::Service(name.to_owned()))
}
