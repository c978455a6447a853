//! Cron expressions: when a schedule fires.
//!
//! Five fields: minute, hour, day of the month, month, day of the week. Each takes `*`, values, ranges `a-b`, lists `a,b`
//! and steps `*/n` or `a-b/n`; months and days of the week also go by their English names (`jan`, `sun`), and Sunday is
//! 0 or 7. `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly` and `@annually` stand for the usual five.
//!
//! As in cron, when neither the day of the month nor the day of the week begins with `*`, a day matches by either.
//!
//! When the clocks change, a fixed time (no `*` and no step in the minute or hour field) still fires once on its day: at
//! the end of the gap when the clocks skip it, at its first occurrence when they repeat it. Any other expression follows
//! the clock as it runs: skipped times do not fire, repeated times fire twice.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{TimeZone, TimeZoneTransition};
use jiff::{SignedDuration, Timestamp};

const MAX_BYTES: usize = 256;
/// Longer than any clock can be set back (offsets lie within 26 hours of UTC).
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(52);
/// How far to look for the next time: twice the longest wait the calendar knows, 40 years for 29 February on a given weekday.
const LOOK_AHEAD: SignedDuration = SignedDuration::from_hours(80 * 366 * 24);

const ALIASES: [(&str, [&str; 5]); 7] = [
    ("@hourly", ["0", "*", "*", "*", "*"]),
    ("@daily", ["0", "0", "*", "*", "*"]),
    ("@midnight", ["0", "0", "*", "*", "*"]),
    ("@weekly", ["0", "0", "*", "*", "0"]),
    ("@monthly", ["0", "0", "1", "*", "*"]),
    ("@yearly", ["0", "0", "1", "1", "*"]),
    ("@annually", ["0", "0", "1", "1", "*"]),
];

/// Why a text is no cron expression, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CronError {
    /// More bytes than an expression may have.
    #[error("the cron expression has {0} bytes: write at most 256")]
    TooLong(usize),
    /// Not five fields.
    #[error("the cron expression has {0} fields: write five (minute, hour, day of the month, month, day of the week) or an alias such as @daily")]
    FieldCount(usize),
    /// A word after `@` that stands for nothing.
    #[error("`{0}` is no alias: write @hourly, @daily, @midnight, @weekly, @monthly, @yearly or @annually")]
    UnknownAlias(String),
    /// A list with nothing between two commas, or at an end.
    #[error("`{text}` in the {field} field has a comma with no value beside it: write a value on both sides or remove the comma")]
    EmptyItem {
        /// The list as written.
        text: String,
        /// The field it stands in.
        field: &'static str,
    },
    /// Not a value of its field.
    #[error("`{text}` is no {field}: write {values}")]
    NotAValue {
        /// The value as written.
        text: String,
        /// The field it stands in.
        field: &'static str,
        /// The values the field takes.
        values: &'static str,
    },
    /// A range whose end comes before its start.
    #[error("`{text}` in the {field} field runs backwards: put the smaller value first, or write two ranges, `{ranges}`")]
    Backwards {
        /// The range as written.
        text: String,
        /// The field it stands in.
        field: &'static str,
        /// The two ranges that wrap around the end of the field.
        ranges: String,
    },
    /// A step from a single value, whose end cron implementations disagree about.
    #[error("`{text}` in the {field} field has a step but no range: write `{range}`")]
    StepWithoutRange {
        /// The item as written.
        text: String,
        /// The field it stands in.
        field: &'static str,
        /// The same step over the rest of the field.
        range: String,
    },
    /// A step that is no whole number, or 0.
    #[error("`{text}` in the {field} field has no usable step: after `/` write a whole number, 1 or more")]
    BadStep {
        /// The item as written.
        text: String,
        /// The field it stands in.
        field: &'static str,
    },
    /// Days that none of the months has, such as 31 February.
    #[error("the expression never fires: none of its months has such a day of the month; change the day or the month")]
    NeverFires,
}

/// A cron expression. Two are equal when they are written the same, spacing aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// A day matches by its day of the month or its day of the week, rather than by both.
    either: bool,
    /// The minute and the hour are given outright, so each time fires once on each matching day.
    fixed: bool,
}

struct Field {
    name: &'static str,
    values: &'static str,
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const MINUTE: Field = Field { name: "minute", values: "0 to 59", low: 0, high: 59, names: &[] };
const HOUR: Field = Field { name: "hour", values: "0 to 23", low: 0, high: 23, names: &[] };
const DAY: Field = Field { name: "day of the month", values: "1 to 31", low: 1, high: 31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    values: "1 to 12 or jan to dec",
    low: 1,
    high: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Field = Field {
    name: "day of the week",
    values: "0 to 7 (0 and 7 are Sunday) or sun to sat",
    low: 0,
    high: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

impl Field {
    /// Reads a field as a set of bits, one per value.
    fn parse(&self, text: &str) -> Result<u64, CronError> {
        text.split(',').try_fold(0, |set, item| {
            if item.is_empty() {
                return Err(CronError::EmptyItem { text: text.to_owned(), field: self.name });
            }
            Ok(set | self.item(item)?)
        })
    }

    fn item(&self, item: &str) -> Result<u64, CronError> {
        let (base, step) = item.split_once('/').map_or((item, None), |(base, step)| (base, Some(step)));
        let bad_step = || CronError::BadStep { text: item.to_owned(), field: self.name };
        let step = step.map_or(Some(1), number).filter(|step| *step > 0).ok_or_else(bad_step)?;
        let (low, high) = if base == "*" {
            (self.low, self.high)
        } else if let Some((low, high)) = base.split_once('-') {
            self.range(base, self.value(low, item)?, self.value(high, item)?)?
        } else {
            let value = self.value(base, item)?;
            if base != item {
                let range = format!("{value}-{}/{step}", self.high);
                return Err(CronError::StepWithoutRange { text: item.to_owned(), field: self.name, range });
            }
            (value, value)
        };
        Ok((low..=high).filter(|value| (value - low) % step == 0).fold(0, |set, value| set | 1 << value))
    }

    fn range(&self, text: &str, low: u32, high: u32) -> Result<(u32, u32), CronError> {
        // At the end of a range Sunday is 7: `fri-sun`.
        let high = if self.high == WEEKDAY.high && high == 0 && low > 0 { WEEKDAY.high } else { high };
        if low > high {
            let ranges = format!("{low}-{},{}-{high}", self.high, self.low);
            return Err(CronError::Backwards { text: text.to_owned(), field: self.name, ranges });
        }
        Ok((low, high))
    }

    fn value(&self, text: &str, item: &str) -> Result<u32, CronError> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let value = named.and_then(|at| u32::try_from(at).ok()).map(|at| at + self.low).or_else(|| number(text));
        value.filter(|value| (self.low..=self.high).contains(value)).ok_or_else(|| {
            let text = if text.is_empty() { item } else { text };
            CronError::NotAValue { text: text.to_owned(), field: self.name, values: self.values }
        })
    }
}

/// Reads plain digits; a number too large for 32 bits counts as the largest.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}

/// The least value in the set that is `from` or more.
fn next_in(set: u64, from: u32) -> Option<u32> {
    let rest = set.checked_shr(from)?;
    (rest != 0).then(|| from + rest.trailing_zeros())
}

fn contains(set: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| next_in(set, value) == Some(value))
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        if text.len() > MAX_BYTES {
            return Err(CronError::TooLong(text.len()));
        }
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let fields = match words.as_slice() {
            [word] if word.starts_with('@') => {
                let known = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(word));
                known.map(|(_, fields)| fields.as_slice()).ok_or_else(|| CronError::UnknownAlias((*word).to_owned()))?
            }
            words => words,
        };
        let &[minute, hour, day, month, weekday] = fields else { return Err(CronError::FieldCount(words.len())) };
        let weekdays = WEEKDAY.parse(weekday)?;
        let cron = Self {
            text: words.join(" "),
            minutes: MINUTE.parse(minute)?,
            hours: HOUR.parse(hour)?,
            days: DAY.parse(day)?,
            months: MONTH.parse(month)?,
            weekdays: weekdays | weekdays >> 7,
            either: !day.starts_with('*') && !weekday.starts_with('*'),
            fixed: ![minute, hour].iter().any(|field| field.contains(['*', '/'])),
        };
        if cron.ever_fires() { Ok(cron) } else { Err(CronError::NeverFires) }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Cron {
    /// The first time the schedule fires strictly after this moment, both in UTC milliseconds.
    ///
    /// `None` when it does not fire within 80 years, as when it asks for a day and time that the clocks always skip there,
    /// or when the search leaves the years -9999 to 9999.
    #[must_use]
    pub fn next_after(&self, zone: &TimeZone, after_ms: i64) -> Option<i64> {
        let first = Timestamp::from_millisecond(after_ms.max(Timestamp::MIN.as_millisecond()).checked_add(1)?).ok()?;
        let limit = first.checked_add(LOOK_AHEAD).unwrap_or(Timestamp::MAX);
        // The stretches between two clock changes, from shortly before `first` on, so that no repeated hour is missed.
        let mut start = first.checked_sub(LOOK_BACK).unwrap_or(Timestamp::MIN);
        let mut offset = zone.to_offset(start);
        let mut changes = zone.following(start);
        // The local times before this one have been; where the clocks are set back they come again.
        let mut reached = offset.to_datetime(start);
        loop {
            let change = changes.next().filter(|change| change.timestamp() > start);
            let end = change.as_ref().map_or(Timestamp::MAX, TimeZoneTransition::timestamp);
            let until = offset.to_datetime(end);
            if end > first {
                let local = offset.to_datetime(start.max(first));
                let from = match (self.fixed, start < first) {
                    (false, _) => local,
                    (true, true) => local.max(reached),
                    // Begins with the times the clocks have skipped, if any.
                    (true, false) => reached,
                };
                if let Some(found) = self.next_local(from, until) {
                    return Some(offset.to_timestamp(found).ok()?.max(start).as_millisecond());
                }
            }
            let change = change.filter(|_| end < limit)?;
            (start, offset, reached) = (end, change.offset(), reached.max(until));
        }
    }

    /// The first matching local time that is `from` or later and before `until`.
    fn next_local(&self, from: DateTime, until: DateTime) -> Option<DateTime> {
        let mut date = from.date();
        let mut minute = minute_of_day(from.time());
        while date <= until.date() {
            if !contains(self.months, date.month()) {
                date = date.last_of_month().tomorrow().ok()?;
            } else if let Some(time) = self.next_time(minute).filter(|_| self.day_matches(date)) {
                return Some(date.to_datetime(time)).filter(|found| *found < until);
            } else {
                date = date.tomorrow().ok()?;
            }
            minute = 0;
        }
        None
    }

    /// The first matching time of the day at this minute of the day or later.
    fn next_time(&self, minute: u32) -> Option<Time> {
        let in_hour = |hour, from| Some((hour, next_in(self.minutes, from)?));
        let hour = next_in(self.hours, minute / 60)?;
        let now = if hour == minute / 60 { in_hour(hour, minute % 60) } else { in_hour(hour, 0) };
        let (hour, minute) = now.or_else(|| in_hour(next_in(self.hours, hour + 1)?, 0))?;
        Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0).ok()
    }

    fn day_matches(&self, date: Date) -> bool {
        let day = contains(self.days, date.day());
        let weekday = contains(self.weekdays, date.weekday().to_sunday_zero_offset());
        if self.either { day || weekday } else { day && weekday }
    }

    /// Every day of a month falls on every day of the week in some year, so only days that no month has never come.
    fn ever_fires(&self) -> bool {
        let longest = |month| match month {
            2 => 29,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        self.either || (1..=12).any(|month| contains(self.months, month) && self.days.trailing_zeros() <= longest(month))
    }
}

/// The first whole minute of the day at this time or later: 0 to 1440.
fn minute_of_day(time: Time) -> u32 {
    let whole = u32::try_from(time.hour()).unwrap_or(0) * 60 + u32::try_from(time.minute()).unwrap_or(0);
    whole + u32::from(time.second() > 0 || time.subsec_nanosecond() > 0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn cron(text: &str) -> Cron {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn zone(name: &str) -> TimeZone {
        if name.contains(',') { TimeZone::posix(name).unwrap() } else { TimeZone::get(name).unwrap() }
    }

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn utc(ms: i64) -> String {
        Timestamp::from_millisecond(ms).unwrap().to_string()
    }

    /// The times in a half-open stretch, from repeated calls.
    fn fires(text: &str, zone_name: &str, from: &str, until: &str) -> Vec<String> {
        let (cron, zone) = (cron(text), zone(zone_name));
        let times = std::iter::successors(cron.next_after(&zone, ms(from) - 1), |at| cron.next_after(&zone, *at));
        times.take_while(|at| *at < ms(until)).map(utc).collect()
    }

    #[test]
    fn errors_name_the_field_and_the_remedy() {
        let days = "0 to 7 (0 and 7 are Sunday) or sun to sat";
        for (text, message) in [
            ("61 * * * *", "`61` is no minute: write 0 to 59"),
            ("60 * * * *", "`60` is no minute: write 0 to 59"),
            ("-5 * * * *", "`-5` is no minute: write 0 to 59"),
            ("+5 * * * *", "`+5` is no minute: write 0 to 59"),
            ("5- * * * *", "`5-` is no minute: write 0 to 59"),
            ("1-2-3 * * * *", "`2-3` is no minute: write 0 to 59"),
            ("** * * * *", "`**` is no minute: write 0 to 59"),
            ("/5 * * * *", "`/5` is no minute: write 0 to 59"),
            ("99999999999 * * * *", "`99999999999` is no minute: write 0 to 59"),
            ("* 24 * * *", "`24` is no hour: write 0 to 23"),
            ("* * 0 * *", "`0` is no day of the month: write 1 to 31"),
            ("* * 32 * *", "`32` is no day of the month: write 1 to 31"),
            ("* * ? * *", "`?` is no day of the month: write 1 to 31"),
            ("* * L * *", "`L` is no day of the month: write 1 to 31"),
            ("* * * 13 *", "`13` is no month: write 1 to 12 or jan to dec"),
            ("* * * sun *", "`sun` is no month: write 1 to 12 or jan to dec"),
            ("* * * january *", "`january` is no month: write 1 to 12 or jan to dec"),
            ("* * * * 8", &format!("`8` is no day of the week: write {days}")),
            ("* * * * mon#1", &format!("`mon#1` is no day of the week: write {days}")),
            ("* 22-4 * * *", "`22-4` in the hour field runs backwards: put the smaller value first, or write two ranges, `22-23,0-4`"),
            ("* * * * sat-mon", "`sat-mon` in the day of the week field runs backwards: put the smaller value first, or write two ranges, `6-7,0-1`"),
            ("5/10 * * * *", "`5/10` in the minute field has a step but no range: write `5-59/10`"),
            ("* * * mar/3 *", "`mar/3` in the month field has a step but no range: write `3-12/3`"),
            ("*/0 * * * *", "`*/0` in the minute field has no usable step: after `/` write a whole number, 1 or more"),
            ("1-9/ * * * *", "`1-9/` in the minute field has no usable step: after `/` write a whole number, 1 or more"),
            ("5/ * * * *", "`5/` in the minute field has no usable step: after `/` write a whole number, 1 or more"),
            ("*/2/2 * * * *", "`*/2/2` in the minute field has no usable step: after `/` write a whole number, 1 or more"),
            ("1,,2 * * * *", "`1,,2` in the minute field has a comma with no value beside it: write a value on both sides or remove the comma"),
            ("* 1, * * *", "`1,` in the hour field has a comma with no value beside it: write a value on both sides or remove the comma"),
            ("@reboot", "`@reboot` is no alias: write @hourly, @daily, @midnight, @weekly, @monthly, @yearly or @annually"),
            (
                "@daily 0",
                "the cron expression has 2 fields: write five (minute, hour, day of the month, month, day of the week) or an alias such as @daily",
            ),
            ("", "the cron expression has 0 fields: write five (minute, hour, day of the month, month, day of the week) or an alias such as @daily"),
            ("0 0 31 2 *", "the expression never fires: none of its months has such a day of the month; change the day or the month"),
            ("0 0 30,31 feb */2", "the expression never fires: none of its months has such a day of the month; change the day or the month"),
            ("0 0 31 2,4,6,9,11 *", "the expression never fires: none of its months has such a day of the month; change the day or the month"),
        ] {
            assert_eq!(text.parse::<Cron>().map(|_| ()).map_err(|error| error.to_string()), Err(message.to_owned()), "{text}");
        }
        let long = format!("* * * * *{}", " ".repeat(248));
        assert_eq!(long.parse::<Cron>().unwrap_err().to_string(), "the cron expression has 257 bytes: write at most 256");
        assert!(long[..256].parse::<Cron>().is_ok());
    }

    #[test]
    fn display_keeps_the_text_with_single_spaces() {
        for (text, shown) in [("  0\t 5  * JAN-Mar,9   Sun ", "0 5 * JAN-Mar,9 Sun"), (" @Daily ", "@Daily"), ("*/5 * * * *", "*/5 * * * *")] {
            assert_eq!(cron(text).to_string(), shown);
            assert_eq!(cron(shown), cron(text));
        }
    }

    /// The two expressions fire alike.
    fn same(left: &str, right: &str) {
        let (left, right) = (cron(left), cron(right));
        let sets = |cron: &Cron| (cron.minutes, cron.hours, cron.days, cron.months, cron.weekdays & 0x7f, cron.either, cron.fixed);
        assert_eq!(sets(&left), sets(&right), "{left} | {right}");
    }

    #[test]
    fn other_spellings_fire_alike() {
        same("0 9 * * 0", "0 9 * * 7");
        same("0 9 * * sun", "0 9 * * SUN");
        same("0 9 * * 0", "0 9 * * Sun");
        same("0 9 * * fri-sun", "0 9 * * 5,6,0");
        same("0 9 * * 5-7", "0 9 * * 0,5-6");
        same("0 9 * * sun-mon", "0 9 * * 0,1");
        same("0 9 * * sun-sun", "0 9 * * 0");
        same("0 9 * * 7-7", "0 9 * * 0");
        same("0 9 1 * 0-7", "0 9 1 * 0-6");
        same("0 9 * jan-DEC *", "0 9 * * *");
        same("05 009 * * *", "5 9 * * *");
        same("0 9 * * */2", "0 9 * * */2,0,2,4,6");
        same("3-59/20 * * * *", "3-43/20 * * * *");
        same("*/99999999999 * * * *", "*/60 * * * *");
        for (alias, fields) in ALIASES {
            same(alias, &fields.join(" "));
            same(&alias.to_uppercase(), &fields.join(" "));
        }
    }

    #[test]
    fn days_match_by_either_only_when_both_are_restricted() {
        // 1 September 2026 is a Tuesday.
        let days =
            |text: &str| fires(text, "UTC", "2026-09-01T00:00:00Z", "2026-10-01T00:00:00Z").iter().map(|at| at[8..10].to_owned()).collect::<Vec<_>>();
        assert_eq!(days("0 0 13 * 5"), ["04", "11", "13", "18", "25"]);
        assert_eq!(days("0 0 13 * *"), ["13"]);
        assert_eq!(days("0 0 * * 5"), ["04", "11", "18", "25"]);
        assert_eq!(days("0 0 */10 * 5"), ["11"]);
        assert_eq!(days("0 0 13 * */7"), ["13"]);
        assert_eq!(days("0 0 31 9 5"), ["04", "11", "18", "25"]);
    }

    #[test]
    fn twenty_ninth_of_february_is_found_across_centuries() {
        let utc_zone = zone("UTC");
        let next = |text: &str, after: &str| utc(cron(text).next_after(&utc_zone, ms(after)).unwrap());
        assert_eq!(next("30 6 29 2 *", "2026-01-01T00:00:00Z"), "2028-02-29T06:30:00Z");
        assert_eq!(next("0 0 29 2 *", "2096-02-29T00:00:00Z"), "2104-02-29T00:00:00Z");
        // Both must match, as the day of the week begins with `*`: Sundays only.
        assert_eq!(next("0 0 29 2 */7", "2026-01-01T00:00:00Z"), "2032-02-29T00:00:00Z");
        assert_eq!(next("0 0 29 2 */7", "2072-01-01T00:00:00Z"), "2088-02-29T00:00:00Z");
        // The longest wait the calendar has.
        for year in 1890..2300 {
            let after = format!("{year}-01-01T00:00:00Z");
            assert_eq!(next("0 0 29 2 */7", &after)[..4], sunday_leap_year(year));
        }
    }

    fn sunday_leap_year(from: i16) -> String {
        let found = (from..from + 41).find(|year| Date::new(*year, 2, 29).is_ok_and(|date| date.weekday() == jiff::civil::Weekday::Sunday));
        found.unwrap().to_string()
    }

    #[test]
    fn berlin_2026() {
        let gap = |text| fires(text, "Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
        // A skipped fixed time fires at the end of the gap, 03:00 CEST.
        assert_eq!(gap("30 2 * * *"), ["2026-03-29T01:00:00Z"]);
        assert_eq!(gap("0,15,30 2 * * *"), ["2026-03-29T01:00:00Z"]);
        assert_eq!(gap("0 1,2,3,4 * * *"), ["2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"]);
        assert_eq!(gap("0 3 * * *"), ["2026-03-29T01:00:00Z"]);
        assert_eq!(gap("59 1 * * *"), ["2026-03-29T00:59:00Z"]);
        // A step follows the clock: 02:xx does not come.
        assert_eq!(gap("*/30 2 * * *"), Vec::<String>::new());
        assert_eq!(gap("30 */2 * * *").len(), 11);
        assert_eq!(gap("@hourly").len(), 23);
        let fold = |text| fires(text, "Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z");
        assert_eq!(fold("30 2 * * *"), ["2026-10-25T00:30:00Z"]);
        assert_eq!(fold("0 2,3 * * *"), ["2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z"]);
        assert_eq!(fold("*/30 2 * * *"), ["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"]);
        assert_eq!(fold("@hourly").len(), 25);
        assert_eq!(fold("@daily"), ["2026-10-24T22:00:00Z"]);
        // Asked in the midst of the repeated hour, the answer is tomorrow.
        let next = cron("30 2 * * *").next_after(&zone("Europe/Berlin"), ms("2026-10-25T01:10:00Z"));
        assert_eq!(next.map(utc).unwrap(), "2026-10-26T01:30:00Z");
    }

    #[test]
    fn clock_changes_elsewhere() {
        let none: [&str; 0] = [];
        let new_york = |text, day: &str| fires(text, "America/New_York", &format!("{day}T05:00:00Z"), &format!("{day}T23:00:00Z"));
        assert_eq!(new_york("30 2 * * *", "2026-03-08"), ["2026-03-08T07:00:00Z"]);
        assert_eq!(new_york("*/15 2 * * *", "2026-03-08"), none);
        assert_eq!(new_york("30 1 * * *", "2026-11-01"), ["2026-11-01T05:30:00Z"]);
        assert_eq!(new_york("*/60 1 * * *", "2026-11-01"), ["2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z"]);
        // The second Sunday in March: 02:00 to 03:00 never comes again in New York.
        assert_eq!(cron("*/10 2 8 3 */7").next_after(&zone("America/New_York"), ms("2026-01-01T00:00:00Z")), None);
        assert!(cron("30 2 8 3 */7").next_after(&zone("America/New_York"), ms("2026-01-01T00:00:00Z")).is_some());
        assert_eq!(fires("30 2 * * *", "Asia/Seoul", "2026-03-28T15:00:00Z", "2026-03-29T15:00:00Z"), ["2026-03-28T17:30:00Z"]);
        assert_eq!(fires("@hourly", "Asia/Seoul", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z").len(), 8760);
        // Lord Howe: 5 April 2026, 02:00 +11 back to 01:30 +10:30; 4 October 2026, 02:00 +10:30 on to 02:30 +11.
        let howe = |text, from, until| fires(text, "Australia/Lord_Howe", from, until);
        let (april, october) = (("2026-04-04T14:00:00Z", "2026-04-04T20:00:00Z"), ("2026-10-03T14:00:00Z", "2026-10-03T20:00:00Z"));
        assert_eq!(howe("45 1 * * *", april.0, april.1), ["2026-04-04T14:45:00Z"]);
        assert_eq!(howe("*/45 1 * * *", april.0, april.1), ["2026-04-04T14:00:00Z", "2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z"]);
        assert_eq!(howe("0,15,30,45 2 * * *", october.0, october.1), ["2026-10-03T15:30:00Z", "2026-10-03T15:45:00Z"]);
        assert_eq!(howe("*/15 2 * * *", october.0, october.1), ["2026-10-03T15:30:00Z", "2026-10-03T15:45:00Z"]);
        assert_eq!(howe("*/15,10 2 * * *", october.0, october.1), ["2026-10-03T15:30:00Z", "2026-10-03T15:45:00Z"]);
        assert_eq!(howe("10 2 * * *", october.0, october.1), ["2026-10-03T15:30:00Z"]);
        // Midnight skipped: São Paulo, 4 November 2018, 00:00 -03 on to 01:00 -02.
        assert_eq!(
            fires("@daily", "America/Sao_Paulo", "2018-11-03T04:00:00Z", "2018-11-05T04:00:00Z"),
            ["2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"]
        );
        assert_eq!(fires("30 0 4 11 *", "America/Sao_Paulo", "2018-01-01T00:00:00Z", "2019-01-01T00:00:00Z"), ["2018-11-04T03:00:00Z"]);
        assert_eq!(fires("@daily", "Asia/Beirut", "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"), ["2026-03-28T22:00:00Z"]);
        // Apia skipped 30 December 2011: its times fire as the 31st begins, and those of the 31st at their own.
        let apia = |text| fires(text, "Pacific/Apia", "2011-12-30T00:00:00Z", "2011-12-31T09:00:00Z");
        assert_eq!(apia("30 9 * * *"), ["2011-12-30T10:00:00Z", "2011-12-30T19:30:00Z"]);
        assert_eq!(apia("@daily"), ["2011-12-30T10:00:00Z"]);
        assert_eq!(apia("0 8,9 30 12 *"), ["2011-12-30T10:00:00Z"]);
        assert_eq!(apia("*/60 8 30 12 *"), none);
        // Monrovia until 7 January 1972 was 44 minutes 30 seconds behind: 00:00:00 on to 00:44:30.
        let monrovia = |text| fires(text, "Africa/Monrovia", "1972-01-07T00:00:00Z", "1972-01-07T01:10:00Z");
        assert_eq!(monrovia("*/15 * * * *"), ["1972-01-07T00:14:30Z", "1972-01-07T00:29:30Z", "1972-01-07T00:45:00Z", "1972-01-07T01:00:00Z"]);
        assert_eq!(monrovia("30 0 * * *"), ["1972-01-07T00:44:30Z"]);
        assert_eq!(monrovia("0,44,45 0 * * *"), ["1972-01-07T00:44:30Z", "1972-01-07T00:45:00Z"]);
    }

    #[test]
    fn the_ends_of_time_do_not_panic() {
        for text in ["* * * * *", "@yearly", "0 0 29 2 */7", "30 2 * * *"] {
            for name in ["UTC", "Europe/Berlin", "Pacific/Apia"] {
                let (cron, zone) = (cron(text), zone(name));
                assert!(cron.next_after(&zone, i64::MIN).is_some());
                assert_eq!(cron.next_after(&zone, i64::MAX), None);
                assert_eq!(cron.next_after(&zone, Timestamp::MAX.as_millisecond()), None);
                for back in [1, 60_000, 86_400_000, 90_000_000, 40 * 366 * 86_400_000] {
                    let after = Timestamp::MAX.as_millisecond() - back;
                    assert!(cron.next_after(&zone, after).is_none_or(|at| at > after));
                    let after = Timestamp::MIN.as_millisecond() + back;
                    assert!(cron.next_after(&zone, after).is_some_and(|at| at > after));
                }
            }
        }
    }

    struct Lcg(u64);

    impl Lcg {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap() % end
        }
    }

    #[test]
    fn no_text_panics() {
        let mut random = Lcg(42);
        let berlin = zone("Europe/Berlin");
        let seeds = ["*/5 1-20/3 1,15,31 jan-dec/2 mon-fri", "0 0 29 2 */7", "@weekly", "59 23 31 12 7", "30 2 * * *"];
        let alphabet = b"0123456789*/-,@ \tjanfebsumo?L#\x00\x7f+";
        let mut accepted = 0;
        for case in 0..40_000 {
            let bytes: Vec<u8> = if case % 2 == 0 {
                (0..random.below(60)).map(|_| u8::try_from(random.below(256)).unwrap()).collect()
            } else {
                let mut bytes = seeds[random.below(seeds.len())].as_bytes().to_vec();
                for _ in 0..=random.below(4) {
                    let at = random.below(bytes.len() + 1);
                    let byte = alphabet[random.below(alphabet.len())];
                    match random.below(3) {
                        0 => bytes.insert(at, byte),
                        1 if at < bytes.len() => bytes[at] = byte,
                        _ if at < bytes.len() => drop(bytes.remove(at)),
                        _ => {}
                    }
                }
                bytes
            };
            match String::from_utf8_lossy(&bytes).parse::<Cron>() {
                Ok(cron) => {
                    accepted += 1;
                    let after = ms("2026-01-01T00:00:00Z") + 3_600_000 * i64::try_from(random.below(100_000)).unwrap();
                    assert!(cron.next_after(&berlin, after).is_none_or(|at| at > after), "{cron}");
                    assert_eq!(cron.to_string().parse::<Cron>().as_ref(), Ok(&cron));
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        assert!(accepted > 1000, "{accepted}");
    }

    // The reference: walks real minutes, and knows nothing of the code above.

    /// Whether a field (lower case, numbers only, valid) takes the value.
    fn takes(field: &str, value: i8, low: i8, high: i8) -> bool {
        field.split(',').any(|item| {
            let parts: Vec<&str> = item.split(['-', '/']).collect();
            let part = |at: usize| parts[at].parse::<i8>().unwrap();
            let (first, last, step) = match (parts.len(), item.starts_with('*'), item.contains('-')) {
                (1, true, _) => (low, high, 1),
                (1, false, _) => (part(0), part(0), 1),
                (2, true, _) => (low, high, part(1)),
                (2, false, true) => (part(0), part(1), 1),
                _ => (part(0), part(1), part(2)),
            };
            value >= first && value <= last && (value - first) % step == 0
        })
    }

    struct Naive {
        /// Per field, whether it takes the value at this index.
        tables: [Vec<bool>; 5],
        either: bool,
        clock: bool,
    }

    impl Naive {
        fn new(text: &str) -> Self {
            let fields: Vec<&str> = text.split(' ').collect();
            let table = |at: usize, low, high| (0..=high).map(|value| value >= low && takes(fields[at], value, low, high)).collect();
            let mut tables: [Vec<bool>; 5] = [table(0, 0, 59), table(1, 0, 23), table(2, 1, 31), table(3, 1, 12), table(4, 0, 7)];
            tables[4][0] |= tables[4][7];
            Self {
                tables,
                either: !fields[2].starts_with('*') && !fields[4].starts_with('*'),
                clock: fields[..2].iter().any(|field| field.contains('*') || field.contains('/')),
            }
        }

        fn matches(&self, local: DateTime) -> bool {
            let takes = |at: usize, value: i8| self.tables[at][usize::try_from(value).unwrap()];
            if !takes(0, local.minute()) || !takes(1, local.hour()) || !takes(3, local.month()) {
                return false;
            }
            let (day, weekday) = (takes(2, local.day()), takes(4, local.weekday().to_sunday_zero_offset()));
            if self.either { day || weekday } else { day && weekday }
        }
    }

    /// A real minute, its local time, and the local minutes the clocks skipped just before it.
    struct Step(i64, DateTime, Vec<DateTime>);

    fn walk(zone: &TimeZone, from: i64, until: i64) -> Vec<Step> {
        let local_at = |now: i64| zone.to_datetime(Timestamp::from_millisecond(now).unwrap());
        let minute = SignedDuration::from_mins(1);
        let mut before = local_at(from - 60_000);
        let step = |now| {
            let local = local_at(now);
            let skipped = std::iter::successors(Some(before + minute), |last| Some(*last + minute)).take_while(|at| *at < local).collect();
            before = local;
            Step(now, local, skipped)
        };
        (from..until).step_by(60_000).map(step).collect()
    }

    /// Every time in the walk at which the expression fires, by the rule for fixed times or by the clock.
    fn reference(text: &str, walk: &[Step]) -> Vec<i64> {
        let naive = Naive::new(text);
        let mut done = HashSet::new();
        let mut times = Vec::new();
        for Step(now, local, skipped) in walk {
            let fire = if naive.clock {
                naive.matches(*local)
            } else {
                // Each once: not again when repeated, and those skipped all at this minute.
                skipped.iter().chain([local]).filter(|local| naive.matches(**local) && done.insert(**local)).count() > 0
            };
            if fire {
                times.push(*now);
            }
        }
        times
    }

    #[test]
    fn agrees_with_a_walk_over_every_minute_of_a_year() {
        let texts = [
            "* * * * *",
            "*/23 * * * *",
            "0 * * * *",
            "30 2 * * *",
            "0,20,40 0-4 * * *",
            "0,30 1,2,3 * * 0",
            "*/20 1-3 * * *",
            "15 */2 * * 1-5",
            "5-50/15 0 * 3,10 *",
            "0 0 * * *",
            "30 0 1 * *",
            "45 23 */2 * 6",
            "0 12 31 * 7",
            "0-59 2 29,30 3,10,12 0,6",
            "59 23 30,31 12 *",
            "*/10 0,23 * * 5-7",
            "0 0 */31 */3 */2",
        ];
        let years = [
            ("Europe/Berlin", 2026),
            ("America/New_York", 2026),
            ("Asia/Seoul", 1988),
            ("Asia/Seoul", 2026),
            ("Australia/Lord_Howe", 2026),
            ("America/Sao_Paulo", 2018),
            ("Asia/Beirut", 2026),
            ("America/Havana", 2026),
            ("Africa/Casablanca", 2026),
            ("Antarctica/Troll", 2026),
            ("Pacific/Apia", 2011),
            ("Pacific/Kwajalein", 1993),
            // A whole day but one hour twice.
            ("Pacific/Kwajalein", 1969),
            // Five hours back and, one hour later, five hours on; and the other way round.
            ("AAA-5BBB0,J100/5,J100/1", 2026),
            ("AAA0BBB-5,J100/0,J100/6", 2026),
            ("Asia/Kathmandu", 1986),
            ("Europe/Berlin", 1945),
        ];
        let mut random = Lcg(7);
        // All of them where many cases are wanted; three otherwise.
        let most = if std::env::var_os("HAECHI_PROPERTY_CASES").is_some() { years.len() } else { 3 };
        let three = [years[4], years[5], years[13]];
        for (name, year) in years.into_iter().skip(3).chain(years.into_iter().take(3)).filter(|year| most > 3 || three.contains(year)) {
            let zone = zone(name);
            let (from, until) = (ms(&format!("{year}-01-01T00:00:00Z")), ms(&format!("{}-01-01T00:00:00Z", year + 1)));
            let walk = walk(&zone, from, until);
            for text in texts {
                let (cron, expected) = (cron(text), reference(text, &walk));
                let mut after = from - 1;
                // Every minute, every time: a sample is enough.
                for at in expected.iter().filter(|_| expected.len() < 50_000) {
                    let next = cron.next_after(&zone, after).unwrap();
                    assert_eq!(utc(next), utc(*at), "{text} in {name} after {}", utc(after));
                    after = next;
                }
                let last = expected.last().copied().unwrap_or(after);
                assert!(cron.next_after(&zone, last).is_none_or(|next| next >= until), "{text} in {name}");
                for _ in 0..500 {
                    let after = from + i64::try_from(random.below(365 * 86_400)).unwrap() * 1000 - i64::from(random.below(2) == 0);
                    let next = expected.get(expected.partition_point(|at| *at <= after));
                    let found = cron.next_after(&zone, after).unwrap();
                    match next {
                        Some(at) => assert_eq!(utc(found), utc(*at), "{text} in {name} after {}", utc(after)),
                        None => assert!(found >= until, "{text} in {name} after {}", utc(after)),
                    }
                }
            }
        }
    }
}
