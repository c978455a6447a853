//! Schedules: when a job is enqueued by the clock. `[[schedule]]` in `jobs/*.toml` declares them.

use super::{Job, RunsAs, cron::Cron, literal::written};
use crate::{
    name::{name_problem, suggest},
    positions::FieldId,
    section::Section,
    value::Value,
};
use jiff::tz::TimeZone;

const MAX_SCHEDULES: usize = 200;
/// A time since which a schedule fires at some time, under the rules by which clocks are changed now: the begin of 2026.
const SINCE_MS: i64 = 1_767_225_600_000;

/// A schedule.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// When it fires.
    pub cron: Cron,
    /// In which time zone; its name.
    pub zone: String,
    /// What it enqueues: a position among [`crate::App::jobs`].
    pub job: usize,
    /// The input of the job.
    pub input: Vec<(FieldId, Value)>,
    /// What happens to times that passed while nobody looked.
    pub missed: Missed,
    /// What happens when the last one has not ended.
    pub overlap: Overlap,
}

/// What happens to times that passed while nobody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// It fires once for all of them.
    Once,
    /// It does not fire for them.
    Skip,
    /// It fires for each of them, at most a hundred.
    All,
}

/// What happens when what it enqueued last has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// It does not fire.
    Skip,
    /// It fires, and what it enqueues waits for the last one.
    Queue,
    /// It fires: both may run at once.
    Allow,
}

impl Schedule {
    /// The first time at which it fires after a moment, UTC milliseconds.
    #[must_use]
    pub fn next_after(&self, after_ms: i64) -> Option<i64> {
        self.cron.next_after(&TimeZone::get(&self.zone).ok()?, after_ms)
    }

    /// When it fires, as text: another text is another schedule.
    #[must_use]
    pub fn declared(&self) -> String {
        format!("{} {}", self.cron, self.zone)
    }
}

/// Reads the schedules of a file: of these jobs, and of others that have faults of their own.
pub(super) fn read_schedules(top: &Section<'_>, jobs: (&[Job], &[String]), found: &mut Vec<Schedule>) {
    for section in top.sections("schedule") {
        let schedule = read_schedule(&section, jobs);
        section.finish();
        let Some(schedule) = schedule else { continue };
        if found.iter().any(|known| known.name == schedule.name) {
            let message = format!("the schedule `{}` is declared twice", schedule.name);
            top.error(None, "clash", message, "remove one of them");
        } else if found.len() == MAX_SCHEDULES {
            top.error(None, "too-many-schedules", format!("more than {MAX_SCHEDULES} schedules are declared"), "split the app");
        } else {
            found.push(schedule);
        }
    }
}

fn read_schedule(section: &Section<'_>, (jobs, faulty): (&[Job], &[String])) -> Option<Schedule> {
    let missing = |key: &'static str, help: &str| {
        if section.span_of(key).is_none() {
            section.error(None, "missing-key", format!("the schedule has no `{key}`"), help);
        }
    };
    let name = section.text("name");
    missing("name", "write name = \"nightly\"");
    if let Some(problem) = name.and_then(name_problem) {
        section.error(section.span_of("name"), "bad-name", problem, "choose another name");
    }
    let cron = section.text("cron").and_then(|text| match text.parse::<Cron>() {
        Ok(cron) => Some(cron),
        Err(error) => {
            section.error(section.span_of("cron"), "bad-schedule", error.to_string(), "write cron = \"30 2 * * *\" for half past two every night");
            None
        }
    });
    missing("cron", "write cron = \"30 2 * * *\" for half past two every night");
    let zone = section.text("zone").unwrap_or("UTC");
    let known = TimeZone::get(zone).is_ok();
    if !known {
        section.error(
            section.span_of("zone"),
            "bad-schedule",
            format!("no time zone is named `{zone}`"),
            "write one such as \"Asia/Seoul\" or \"UTC\"",
        );
    }
    let job = section.text("job").filter(|text| !faulty.iter().any(|name| name == text)).and_then(|text| job_named(section, text, jobs));
    missing("job", "name the job that is enqueued");
    let missed = choice(section, "missed", &[("once", Missed::Once), ("skip", Missed::Skip), ("all", Missed::All)]);
    let overlap = choice(section, "overlap", &[("skip", Overlap::Skip), ("queue", Overlap::Queue), ("allow", Overlap::Allow)]);
    let input = input(section, job.map(|at| &jobs[at]));
    let (cron, zone) = (cron?, zone.to_owned());
    let schedule = Schedule { name: name.filter(|name| name_problem(name).is_none())?.to_owned(), cron, zone, job: job?, input, missed, overlap };
    if known && schedule.next_after(SINCE_MS).is_none() {
        let message = format!("`{}` never fires in {}", schedule.cron, schedule.zone);
        section.error(section.span_of("cron"), "bad-schedule", message, "choose a time that its clocks show");
        return None;
    }
    known.then_some(schedule)
}

fn job_named(section: &Section<'_>, text: &str, jobs: &[Job]) -> Option<usize> {
    let span = section.span_of("job");
    let Some(at) = jobs.iter().position(|job| job.name == text) else {
        let help = suggest(text, jobs.iter().map(|job| job.name.as_str()))
            .map_or_else(|| "declare it: [jobs.NAME]".to_owned(), |near| format!("did you mean `{near}`?"));
        section.error(span, "unknown-name", format!("no job is named `{text}`"), help);
        return None;
    };
    if jobs[at].runs_as == RunsAs::Caller {
        let message = format!("`{text}` runs as its caller, and a schedule is nobody");
        section.error(span, "wrong-value", message, "let the job run as a service: as = \"service:NAME\"");
        return None;
    }
    Some(at)
}

/// The word of a key, out of these; the first when there is none.
fn choice<T: Copy>(section: &Section<'_>, key: &'static str, words: &[(&str, T)]) -> T {
    let first = words[0].1;
    let Some(text) = section.text(key) else { return first };
    words.iter().find(|(word, _)| *word == text).map_or_else(
        || {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            section.error(section.span_of(key), "wrong-value", format!("`{key}` is `{text}`"), format!("write one of {}", known.join(", ")));
            first
        },
        |(_, value)| *value,
    )
}

/// The input that the job gets, checked against its fields.
fn input(section: &Section<'_>, job: Option<&Job>) -> Vec<(FieldId, Value)> {
    let mut found = Vec::new();
    let given = section.section("input");
    let Some(job) = job else { return found };
    if let Some(given) = &given {
        for (name, span, item) in given.entries() {
            match job.input.declared().find(|(_, field)| field.name == name) {
                Some((at, field)) => found.extend(written(given, name, item, &field.ty).map(|value| (at, value))),
                None => {
                    let known = job.input.declared().map(|(_, field)| field.name.as_str());
                    let help = suggest(name, known).map_or_else(|| format!("remove `{name}`"), |near| format!("did you mean `{near}`?"));
                    given.error(span, "unknown-field", format!("the job `{}` has no input `{name}`", job.name), help);
                }
            }
        }
    }
    for (at, field) in job.input.declared() {
        if field.required && field.default.is_none() && !found.iter().any(|(known, _)| *known == at) {
            let message = format!("the job `{}` needs the input `{}`", job.name, field.name);
            section.error(section.span_of("input"), "missing-key", message, format!("write input = {{ {} = … }}", field.name));
        }
    }
    found
}
