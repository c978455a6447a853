//! Reading values: each type's canonical form and its constraints.

use crate::{json::Json, pattern::Pattern, value::Value};
use thiserror::Error;

/// Why a value does not fit a field. The code is stable; it stands in the problem's `errors`.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{detail}")]
pub struct FieldError {
    /// Stable code, e.g. `too_long`.
    pub code: &'static str,
    /// What is wrong and what would be right.
    pub detail: String,
}

const MAX_EMAIL_BYTES: usize = 254;
const MAX_URL_BYTES: usize = 2048;

pub(crate) fn wrong<T>(code: &'static str, detail: impl Into<String>) -> Result<T, FieldError> {
    Err(FieldError { code, detail: detail.into() })
}

pub(crate) fn plain_text(text: &str, min: u32, max: u32, pattern: Option<&Pattern>) -> Result<Value, FieldError> {
    if text.contains('\0') {
        return wrong("has_nul", "must not contain the character U+0000");
    }
    let length = text.chars().count();
    if length > max as usize {
        return wrong("too_long", format!("has {length} characters; at most {max} are allowed"));
    }
    if length < min as usize {
        return wrong("too_short", format!("has {length} characters; at least {min} are needed"));
    }
    match pattern {
        Some(pattern) if !pattern.matches(text) => wrong("pattern_mismatch", format!("must match the pattern {}", pattern.as_str())),
        _ => Ok(Value::text(text)),
    }
}

pub(crate) fn email(text: &str) -> Result<Value, FieldError> {
    let bad = || wrong("not_an_email", "must be an address such as kim@example.com");
    let Some((local, domain)) = text.rsplit_once('@') else { return bad() };
    let local_ok = !local.is_empty()
        && local.len() <= 64
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && local.chars().all(|c| c.is_ascii_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(c));
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    if !local_ok || text.len() > MAX_EMAIL_BYTES || !domain.contains('.') || !domain.split('.').all(label_ok) {
        return bad();
    }
    Ok(Value::text(text.to_ascii_lowercase()))
}

pub(crate) fn url_value(text: &str) -> Result<Value, FieldError> {
    let bad = || wrong("not_a_url", "must be an absolute http or https URL without a password in it");
    if text.len() > MAX_URL_BYTES || text.chars().any(|c| c.is_control() || c == ' ') {
        return bad();
    }
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty() && url.password().is_none() => {
            Ok(Value::text(url.as_str()))
        }
        _ => bad(),
    }
}

/// A whole number, exactly as its digits say: `4.0` and `1e3` are whole, `4.9999999999999999999` and `1e-400` are not.
pub(crate) fn whole(text: &str) -> Result<i64, FieldError> {
    let not_whole = || wrong("not_a_whole_number", "must be a whole number");
    let too_large = || wrong("out_of_range", "is outside the range of the field");
    let (sign, body) = text.strip_prefix('-').map_or(("", text), |body| ("-", body));
    let (mantissa, exponent) = body.split_once(['e', 'E']).unwrap_or((body, "0"));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_sign = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    if !digits(before) || !digits(after) || !digits(exponent_sign) {
        return not_whole();
    }
    let after = after.trim_end_matches('0');
    let all = format!("{before}{after}");
    let significant = all.trim_start_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    // Digits cannot make up for longer exponents: bodies are shorter.
    let exponent: i64 = exponent.parse().unwrap_or(if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 });
    let zeros = exponent - after.len() as i64;
    if zeros < 0 {
        let cut = usize::try_from(-zeros).ok().filter(|cut| *cut < significant.len());
        let Some((kept, rest)) = cut.map(|cut| significant.split_at(significant.len() - cut)) else { return not_whole() };
        if rest.bytes().any(|byte| byte != b'0') {
            return not_whole();
        }
        return format!("{sign}{kept}").parse().or_else(|_| too_large());
    }
    match usize::try_from(zeros) {
        Ok(zeros) if significant.len() + zeros <= 19 => format!("{sign}{significant}{}", "0".repeat(zeros)).parse().or_else(|_| too_large()),
        _ => too_large(),
    }
}

pub(crate) fn in_range(int: i64, min: i64, max: i64) -> Result<Value, FieldError> {
    if (min..=max).contains(&int) {
        return Ok(Value::Int(int));
    }
    wrong("out_of_range", format!("must be from {min} to {max}"))
}

pub(crate) fn float(digits: &str, min: f64, max: f64) -> Result<Value, FieldError> {
    let looks = digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E'));
    match digits.parse::<f64>() {
        Ok(float) if looks && float.is_finite() => {
            let float = if float == 0.0 { 0.0 } else { float };
            if float < min || float > max {
                return wrong("out_of_range", format!("must be from {min} to {max}"));
            }
            Ok(Value::Real(float))
        }
        Ok(_) if looks => wrong("out_of_range", "is too large for a number"),
        _ => wrong("wrong_type", "must be a number"),
    }
}

pub(crate) fn decimal(text: &str, precision: u32, scale: u32) -> Result<Value, FieldError> {
    let (negative, body) = text.strip_prefix('-').map_or((false, text), |body| (true, body));
    let (whole, part) = body.split_once('.').unwrap_or((body, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || body.ends_with('.') {
        return wrong("not_a_decimal", "must be a decimal number such as 12.50");
    }
    let part = part.trim_end_matches('0');
    if part.len() > scale as usize {
        return wrong("too_precise", format!("must have at most {scale} digits after the point"));
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() > (precision - scale) as usize {
        return wrong("out_of_range", format!("must have at most {} digits before the point", precision - scale));
    }
    let scaled = format!("{whole}{part:0<width$}", width = scale as usize);
    let scaled: i64 = if scaled.is_empty() { 0 } else { scaled.parse().or_else(|_| wrong("out_of_range", "is outside the range of the field"))? };
    Ok(Value::Int(if negative { -scaled } else { scaled }))
}

pub(crate) fn json_value(json: &Json, max_bytes: u32) -> Result<Value, FieldError> {
    if json.has_nul() {
        return wrong("has_nul", "must not contain the character U+0000");
    }
    let mut out = Vec::new();
    json.write(&mut out);
    if out.len() > max_bytes as usize {
        return wrong("too_large", format!("has {} bytes; at most {max_bytes} are allowed", out.len()));
    }
    match String::from_utf8(out) {
        Ok(text) => Ok(Value::text(text)),
        Err(_) => wrong("not_json", "is not UTF-8"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_means_whole() {
        let cases = [
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("7", Ok(7)),
            ("007", Ok(7)),
            ("4.0", Ok(4)),
            ("1e3", Ok(1000)),
            ("1.5e1", Ok(15)),
            ("1500e-2", Ok(15)),
            ("-12.30e1", Ok(-123)),
            ("9007199254740993.0", Ok(9_007_199_254_740_993)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("0e999999999999999999999", Ok(0)),
            ("4.9999999999999999999", Err("not_a_whole_number")),
            ("1e-400", Err("not_a_whole_number")),
            ("1e-99999999999999999999", Err("not_a_whole_number")),
            ("15e-2", Err("not_a_whole_number")),
            ("9223372036854775808", Err("out_of_range")),
            ("1e400", Err("out_of_range")),
            ("1e99999999999999999999", Err("out_of_range")),
            ("", Err("not_a_whole_number")),
            ("-", Err("not_a_whole_number")),
            ("1.", Err("not_a_whole_number")),
            ("+1", Err("not_a_whole_number")),
            ("0x10", Err("not_a_whole_number")),
            ("NaN", Err("not_a_whole_number")),
        ];
        for (text, expected) in cases {
            assert_eq!(whole(text).map_err(|error| error.code), expected, "{text}");
        }
    }
}
