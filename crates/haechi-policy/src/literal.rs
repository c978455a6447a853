//! Cedar's extension literals: decimal, datetime and duration.

use crate::mutation::{Mutation, mutated};
use haechi_model::{parse_date, parse_datetime};

/// `"12.5"` as ten-thousandths.
pub(crate) fn decimal(text: &str) -> Result<i64, String> {
    let bad = || format!("`{text}` is not a decimal of at most four digits after the point");
    let (whole, part) = text.split_once('.').ok_or_else(bad)?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole.strip_prefix('-').unwrap_or(whole)) || !digits(part) || part.len() > 4 {
        return Err(bad());
    }
    format!("{whole}{part:0<4}").parse().map_err(|_| bad())
}

/// `"2026-01-31"` or `"2026-01-31T09:00:00Z"` as milliseconds since 1970.
pub(crate) fn datetime(text: &str) -> Result<i64, String> {
    let zoned = |text: &str| match text.char_indices().nth_back(4) {
        Some((at, '+' | '-')) => format!("{}:{}", &text[..at + 3], &text[at + 3..]),
        _ => text.to_owned(),
    };
    parse_date(text).or_else(|| parse_datetime(&zoned(text))).ok_or_else(|| format!("`{text}` is not a datetime of the years 0001 to 9999"))
}

/// `"1d2h3m4s5ms"` as milliseconds.
pub(crate) fn duration(text: &str) -> Result<i64, String> {
    let bad = || format!("`{text}` is not a duration");
    let (negative, mut rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    // Wider than the result: the smallest number of milliseconds has no opposite.
    let mut sum = 0i128;
    let mut units = [("d", 86_400_000i128), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)].into_iter();
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let count = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..count].parse().map_err(|_| bad())?;
        let unit: String = rest[count..].chars().take_while(char::is_ascii_alphabetic).collect();
        let (_, ms) = units.find(|(name, _)| *name == unit).ok_or_else(bad)?;
        sum += i128::from(number) * ms;
        rest = &rest[count + unit.len()..];
    }
    let sum = i64::try_from(if negative { -sum } else { sum }).map_err(|_| bad())?;
    if sum == i64::MIN && mutated(Mutation::ClampedDuration) {
        return Ok(-i64::MAX);
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_read_as_cedar_reads_them() {
        assert_eq!(decimal("12.5"), Ok(125_000));
        assert_eq!(decimal("-0.0001"), Ok(-1));
        assert!(decimal("1").is_err());
        assert!(decimal("1.00000").is_err());
        assert_eq!(duration("1d2h"), Ok(93_600_000));
        assert_eq!(duration("-5ms"), Ok(-5));
        assert_eq!(duration("-9223372036854775808ms"), Ok(i64::MIN));
        assert!(duration("9223372036854775808ms").is_err());
        assert!(duration("1h1d").is_err());
        assert_eq!(datetime("1970-01-02"), Ok(86_400_000));
        assert_eq!(datetime("1970-01-01T01:00:00+0100"), Ok(0));
    }
}
