//! Reading values: each type's canonical form and its constraints.

use crate::{
    field::{FieldError, FieldType, MAX_SAFE_INT},
    json::Json,
    pattern::Pattern,
    value::Value,
};

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

pub(crate) fn whole(digits: &str) -> Result<i64, FieldError> {
    let body = digits.strip_prefix('-').unwrap_or(digits);
    if body.is_empty() || !body.bytes().all(|byte| byte.is_ascii_digit()) {
        let tidy = digits.parse::<f64>().ok().filter(|float| float.is_finite() && float.fract() == 0.0 && float.abs() <= MAX_SAFE_INT as f64);
        return match tidy {
            Some(float) if digits.bytes().any(|byte| byte.is_ascii_digit()) => Ok(float as i64),
            _ => wrong("not_a_whole_number", "must be a whole number"),
        };
    }
    digits.parse().or_else(|_| wrong("out_of_range", "is outside the range of the field"))
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

pub(crate) fn list(of: &FieldType, items: &[Json], max_items: u32) -> Result<Value, FieldError> {
    if items.len() > max_items as usize {
        return wrong("too_many_items", format!("has {} items; at most {max_items} are allowed", items.len()));
    }
    let mut out = vec![b'['];
    for (at, item) in items.iter().enumerate() {
        if *item == Json::Null {
            return wrong("null_in_list", format!("item {at} is null"));
        }
        let value = of.read(item).map_err(|error| FieldError { code: error.code, detail: format!("item {at} {}", error.detail) })?;
        if at > 0 {
            out.push(b',');
        }
        of.write(&value, &mut out);
    }
    out.push(b']');
    Ok(Value::text(String::from_utf8_lossy(&out)))
}
