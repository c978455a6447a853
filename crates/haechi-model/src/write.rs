//! How stored values are written as JSON, by the type of their field.

use crate::{
    field::FieldType,
    json::write_json_text,
    time::{write_date, write_datetime},
    value::Value,
};

impl FieldType {
    /// Appends a stored value as JSON.
    pub fn write(&self, value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Int(int) => self.write_int(*int, out),
            Value::Real(real) => write_real(*real, out),
            Value::Text(text) => self.write_text(text, out),
        }
    }

    /// Appends a stored integer as JSON.
    pub fn write_int(&self, int: i64, out: &mut Vec<u8>) {
        match self {
            Self::Bool => out.extend_from_slice(if int == 0 { b"false" } else { b"true" }),
            Self::Datetime(_) | Self::Date(_) => {
                out.push(b'"');
                if matches!(self, Self::Date(_)) {
                    write_date(int, out)
                } else {
                    write_datetime(int, out)
                }
                out.push(b'"');
            }
            Self::Int64 { .. } => {
                out.push(b'"');
                out.extend_from_slice(int.to_string().as_bytes());
                out.push(b'"');
            }
            Self::Decimal { scale, .. } => {
                out.push(b'"');
                write_decimal(int, *scale, out);
                out.push(b'"');
            }
            _ => out.extend_from_slice(itoa::Buffer::new().format(int).as_bytes()),
        }
    }

    /// Appends stored text as JSON.
    pub fn write_text(&self, text: &str, out: &mut Vec<u8>) {
        match self {
            Self::Json { .. } | Self::List { .. } => out.extend_from_slice(text.as_bytes()),
            Self::Uuid | Self::Ref { .. } => {
                out.push(b'"');
                out.extend_from_slice(text.as_bytes());
                out.push(b'"');
            }
            _ => write_json_text(text, out),
        }
    }
}

/// Appends a finite float as JSON.
pub(crate) fn write_real(real: f64, out: &mut Vec<u8>) {
    match serde_json::to_writer(&mut *out, &real) {
        Ok(()) => {}
        Err(_) => out.extend_from_slice(b"null"),
    }
}

fn write_decimal(int: i64, scale: u32, out: &mut Vec<u8>) {
    let unit = 10u64.pow(scale);
    if int < 0 {
        out.push(b'-');
    }
    let (whole, part) = (int.unsigned_abs() / unit, int.unsigned_abs() % unit);
    out.extend_from_slice(whole.to_string().as_bytes());
    if scale > 0 {
        out.extend_from_slice(format!(".{part:0width$}", width = scale as usize).as_bytes());
    }
}
