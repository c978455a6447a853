//! Fields as parts of protobuf messages: their numbers, and how a cell is encoded (proto3, every field optional).

use crate::{
    collection::Collection,
    field::FieldType,
    json::{Json, parse_json},
    output::Cells,
    positions::FieldId,
    value::{Storage, Value},
};

/// Number of the field with the names of hidden fields.
pub const MASKED_FIELDS: u32 = 5;
/// Numbers of declared fields begin here; lower numbers are fields of every record.
const FIRST: u32 = 1 << 15;
const LAST: u32 = 1 << 25;

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

/// The number of a field. It depends on the name only, so other fields may be added and removed.
#[must_use]
pub fn field_number(collection: &Collection, field: FieldId) -> u32 {
    match field {
        Collection::ID..=Collection::VERSION => u32::try_from(field).unwrap_or_default() + 1,
        _ => FIRST + fnv(&collection.fields[field].name) % (LAST - FIRST),
    }
}

/// FNV-1a: it only has to be stable for ever.
fn fnv(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Appends a base-128 number.
pub fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn write_key(number: u32, wire: u64, out: &mut Vec<u8>) {
    write_varint(u64::from(number) << 3 | wire, out);
}

/// Appends a field of bytes: a text or a message.
pub fn write_bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    write_key(number, BYTES, out);
    write_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

pub(crate) fn write_text(number: u32, text: &str, out: &mut Vec<u8>) {
    write_bytes(number, text.as_bytes(), out);
}

fn write_int(number: u32, int: i64, out: &mut Vec<u8>) {
    write_key(number, VARINT, out);
    write_varint(int.cast_unsigned(), out);
}

/// Appends a cell as a field; NULL is an absent field.
pub(crate) fn write_field(ty: &FieldType, number: u32, cells: &(impl Cells + ?Sized), at: usize, out: &mut Vec<u8>) {
    match (ty, ty.storage()) {
        (FieldType::List { of, .. }, _) => {
            if let Some(text) = cells.text(at) {
                write_items(of, number, text, out);
            }
        }
        (FieldType::Datetime(_), _) => {
            if let Some(ms) = cells.int(at) {
                write_timestamp(number, ms, out);
            }
        }
        // Written as JSON writes them, without the quotes.
        (FieldType::Date(_) | FieldType::Decimal { .. }, _) => {
            if let Some(int) = cells.int(at) {
                let mut text = Vec::with_capacity(16);
                ty.write_int(int, &mut text);
                let inner = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(&text);
                write_bytes(number, inner, out);
            }
        }
        (_, Storage::Int) => {
            if let Some(int) = cells.int(at) {
                write_int(number, int, out);
            }
        }
        (_, Storage::Real) => {
            if let Some(real) = cells.real(at) {
                write_key(number, FIXED64, out);
                out.extend_from_slice(&real.to_le_bytes());
            }
        }
        _ => {
            if let Some(text) = cells.text(at) {
                write_text(number, text, out);
            }
        }
    }
}

/// Appends a value as a field; NULL is an absent field.
pub fn write_value(ty: &FieldType, number: u32, value: &Value, out: &mut Vec<u8>) {
    write_field(ty, number, std::slice::from_ref(value), 0, out);
}

/// `google.protobuf.Timestamp`.
fn write_timestamp(number: u32, ms: i64, out: &mut Vec<u8>) {
    let mut inner = Vec::with_capacity(16);
    let (seconds, nanos) = (ms.div_euclid(1000), ms.rem_euclid(1000) * 1_000_000);
    if seconds != 0 {
        write_int(1, seconds, &mut inner);
    }
    if nanos != 0 {
        write_int(2, nanos, &mut inner);
    }
    write_bytes(number, &inner, out);
}

/// The items of a stored list, each with its own key: readers accept both packed and unpacked lists.
fn write_items(of: &FieldType, number: u32, stored: &str, out: &mut Vec<u8>) {
    let Ok(Json::List(items)) = parse_json(stored.as_bytes()) else { return };
    for item in &items {
        match (of.storage(), item) {
            (_, Json::Text(text)) => write_text(number, text, out),
            (_, Json::Bool(flag)) => write_int(number, i64::from(*flag), out),
            (Storage::Int, Json::Number(digits)) => write_int(number, digits.parse().unwrap_or_default(), out),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_depend_on_the_name_alone() {
        assert_eq!(fnv("title"), fnv("title"));
        assert_ne!(fnv("title"), fnv("titles"));
        let number = FIRST + fnv("title") % (LAST - FIRST);
        // A snapshot: a change of this number breaks every client.
        assert_eq!(number, 9_188_617);
        assert!(!(19_000..20_000).contains(&number), "protobuf keeps these for itself");
    }

    #[test]
    fn varints_are_as_the_encoding_says() {
        let mut out = Vec::new();
        write_varint(300, &mut out);
        assert_eq!(out, [0xac, 0x02]);
        out.clear();
        write_int(1, -1, &mut out);
        assert_eq!(out.len(), 11, "a negative number takes ten bytes");
        out.clear();
        write_timestamp(2, -1, &mut out);
        // Seconds -1 and 999 ms.
        assert_eq!(out[..2], [0x12, 17]);
    }
}
