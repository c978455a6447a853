//! Dates and times: RFC 3339 in and out, UTC milliseconds between. Years 0001 to 9999.

const DAY_MS: i64 = 86_400_000;
const FIRST_MS: i64 = -62_135_596_800_000;
const LAST_MS: i64 = 253_402_300_799_999;

/// Reads an RFC 3339 time with offset; digits finer than milliseconds are cut.
#[must_use]
pub fn parse_datetime(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 20 || !bytes.is_ascii() || !matches!(bytes[10], b'T' | b't') || bytes[13] != b':' || bytes[16] != b':' {
        return None;
    }
    let days = parse_day(&bytes[..10])?;
    let (hour, minute, second) = (digits(&bytes[11..13])?, digits(&bytes[14..16])?, digits(&bytes[17..19])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (milli, offset) = fraction(&text[19..])?;
    let local = ((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + milli;
    let ms = local - offset_minutes(offset)? * 60_000;
    (FIRST_MS..=LAST_MS).contains(&ms).then_some(ms)
}

/// Reads `YYYY-MM-DD` as midnight UTC.
#[must_use]
pub fn parse_date(text: &str) -> Option<i64> {
    if text.len() != 10 {
        return None;
    }
    Some(parse_day(text.as_bytes())? * DAY_MS)
}

fn parse_day(bytes: &[u8]) -> Option<i64> {
    if bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let (year, month, day) = (digits(&bytes[..4])?, digits(&bytes[5..7])?, digits(&bytes[8..10])?);
    let days = days_since_1970(year, month, day);
    (year >= 1 && (1..=12).contains(&month) && civil(days) == (year, month, day)).then_some(days)
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// Splits `.123456Z` into milliseconds and the offset.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let count = rest.bytes().take_while(u8::is_ascii_digit).count();
    if count == 0 {
        return None;
    }
    let kept = digits(&rest.as_bytes()[..count.min(3)])?;
    Some((kept * 10_i64.pow(3 - count.min(3) as u32), &rest[count..]))
}

fn offset_minutes(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    match bytes {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (digits(&bytes[1..3])?, digits(&bytes[4..6])?);
            let total = hours * 60 + minutes;
            (hours <= 23 && minutes <= 59).then_some(if *sign == b'+' { total } else { -total })
        }
        _ => None,
    }
}

/// Writes `YYYY-MM-DDTHH:MM:SS.mmmZ`.
pub fn write_datetime(ms: i64, out: &mut Vec<u8>) {
    write_date(ms, out);
    let rest = ms.rem_euclid(DAY_MS);
    let mut buffer = *b"T00:00:00.000Z";
    put(&mut buffer[1..3], rest / 3_600_000);
    put(&mut buffer[4..6], rest / 60_000 % 60);
    put(&mut buffer[7..9], rest / 1000 % 60);
    put(&mut buffer[10..13], rest % 1000);
    out.extend_from_slice(&buffer);
}

/// Writes `YYYY-MM-DD`.
pub fn write_date(ms: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(ms.div_euclid(DAY_MS));
    let mut buffer = *b"0000-00-00";
    put(&mut buffer[0..4], year);
    put(&mut buffer[5..7], month);
    put(&mut buffer[8..10], day);
    out.extend_from_slice(&buffer);
}

/// As [`write_datetime`], as a string.
#[must_use]
pub fn format_datetime(ms: i64) -> String {
    let mut out = Vec::with_capacity(24);
    write_datetime(ms, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// As [`write_date`], as a string.
#[must_use]
pub fn format_date(ms: i64) -> String {
    let mut out = Vec::with_capacity(10);
    write_date(ms, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn put(slot: &mut [u8], mut number: i64) {
    for digit in slot.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Days since 1970 to a proleptic Gregorian date (the era method: 400 years are 146 097 days).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datetimes_round_trip_and_normalise() {
        for (text, out) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
            ("2024-02-29T23:59:59.999999+09:00", "2024-02-29T14:59:59.999Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
            ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
            ("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(parse_datetime(text).map(format_datetime).as_deref(), Some(out), "{text}");
        }
        for bad in
            ["2024-01-01", "2024-01-01T00:00:00", "2024-13-01T00:00:00Z", "0000-01-01T00:00:00Z", "2024-01-01T00:00:60Z", "2024-01-01T00:00:00Z[UTC]"]
        {
            assert_eq!(parse_datetime(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_round_trip_over_all_years() {
        for year in (1..=9999).step_by(7) {
            let text = format!("{year:04}-02-28");
            assert_eq!(parse_date(&text).map(format_date), Some(text));
        }
        assert_eq!(parse_date("2023-02-29"), None);
        assert_eq!(parse_date("0000-01-01"), None);
    }
}
