//! A validated value in its canonical stored form.

/// How a column is stored. Three kinds are enough for every type, and they behave alike in every database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Storage {
    /// 64-bit integer.
    Int,
    /// 64-bit float.
    Real,
    /// Text compared by bytes.
    Text,
    /// Raw bytes; system tables only.
    Bytes,
}

/// A value as every database stores it: `bool`, `datetime`, `date` and `decimal` are integers; `enum`, `uuid`, `ref`,
/// `json` and `list` are text. The field says how to read it back.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Value {
    /// No value.
    Null,
    /// A whole number, a flag (0 or 1), milliseconds since 1970, days as milliseconds, or a scaled decimal.
    Int(i64),
    /// A finite number, never −0.
    Real(f64),
    /// Text without NUL.
    Text(Box<str>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<i64> for Value {
    fn from(int: i64) -> Self {
        Self::Int(int)
    }
}

impl Value {
    /// Text from anything that is text.
    #[must_use]
    pub fn text(text: impl Into<Box<str>>) -> Self {
        Self::Text(text.into())
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text, when it is text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, when it is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(int) => Some(*int),
            _ => None,
        }
    }

    /// Order within one stored kind; `None` across kinds and for NULL.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => Some(left.cmp(right)),
            (Self::Real(left), Self::Real(right)) => left.partial_cmp(right),
            (Self::Text(left), Self::Text(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
            _ => None,
        }
    }

    /// Appends a form that no other value has: the basis of digests and keys.
    pub fn write_canonical(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(0),
            Self::Int(int) => {
                out.push(1);
                out.extend_from_slice(&int.to_be_bytes());
            }
            Self::Real(real) => {
                out.push(2);
                out.extend_from_slice(&real.to_bits().to_be_bytes());
            }
            Self::Text(text) => {
                out.push(3);
                out.extend_from_slice(&(text.len() as u64).to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
        }
    }

    /// Takes a value in the form of [`Value::write_canonical`] from the front of some bytes.
    #[must_use]
    pub fn read_canonical(bytes: &mut &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let mut rest = rest;
        let mut eight = || {
            let (number, left) = rest.split_first_chunk::<8>()?;
            rest = left;
            Some(*number)
        };
        let value = match kind {
            0 => Self::Null,
            1 => Self::Int(i64::from_be_bytes(eight()?)),
            2 => Self::Real(f64::from_bits(u64::from_be_bytes(eight()?))),
            3 => {
                let length = usize::try_from(u64::from_be_bytes(eight()?)).ok()?;
                let (text, left) = rest.split_at_checked(length)?;
                rest = left;
                Self::text(std::str::from_utf8(text).ok()?)
            }
            _ => return None,
        };
        *bytes = rest;
        Some(value)
    }
}
