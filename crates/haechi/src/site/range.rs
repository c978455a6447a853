//! Conditional requests and parts of files (RFC 9110, sections 13 and 14).

use http::{HeaderMap, HeaderValue, header};

/// Whether the client has this file already: `If-None-Match`, compared weakly.
pub(crate) fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let strip = |text: &str| text.trim().trim_start_matches("W/").to_owned();
    let Ok(tag) = tag.to_str() else { return false };
    let all = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(',')).any(|one| one.trim() == "*" || strip(one) == tag)
}

/// Which part of a file a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// From a byte, so many.
    Of(u64, u64),
    /// One that the file does not have.
    Beyond,
}

impl Part {
    /// What `Range` says, when `If-Range` allows it. Several ranges at once, and other units, are answered with the whole; HEAD has no
    /// parts.
    pub(crate) fn read(headers: &HeaderMap, head: bool, bytes: u64, tag: &HeaderValue) -> Self {
        let same = headers.get(header::IF_RANGE).is_none_or(|value| value == tag);
        let range = headers.get(header::RANGE).filter(|_| same && !head).and_then(|value| value.to_str().ok());
        range.map_or(Self::Whole, |range| Self::of(range, bytes).unwrap_or(Self::Whole))
    }

    fn of(range: &str, bytes: u64) -> Option<Self> {
        let digits = |text: &str| -> Option<u64> {
            let text = text.trim();
            // A number beyond all files is still a number.
            (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().unwrap_or(u64::MAX))
        };
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        let (from, to) = if first.trim().is_empty() {
            let last = digits(last)?;
            if last == 0 {
                return Some(Self::Beyond);
            }
            (bytes.saturating_sub(last), bytes)
        } else {
            let first = digits(first)?;
            let to = if last.trim().is_empty() { bytes } else { digits(last).filter(|last| *last >= first)?.saturating_add(1).min(bytes) };
            (first, to)
        };
        Some(if from >= bytes { Self::Beyond } else { Self::Of(from, to - from) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_part_of_the_file() {
        let tag = HeaderValue::from_static("\"t\"");
        let part = |range: &'static str, if_range: Option<&'static str>| {
            let mut headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static(range))]);
            headers.extend(if_range.map(|tag| (header::IF_RANGE, HeaderValue::from_static(tag))));
            Part::read(&headers, false, 100, &tag)
        };
        for (range, expected) in [
            ("bytes=0-0", Part::Of(0, 1)),
            ("bytes=10-19", Part::Of(10, 10)),
            ("bytes=90-", Part::Of(90, 10)),
            ("bytes=90-200", Part::Of(90, 10)),
            ("bytes=-10", Part::Of(90, 10)),
            ("bytes=-200", Part::Of(0, 100)),
            ("bytes=100-", Part::Beyond),
            ("bytes=99999999999999999999999-", Part::Beyond),
            ("bytes=-0", Part::Beyond),
            ("bytes=20-10", Part::Whole),
            ("bytes=a-", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=0-1,5-6", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes=", Part::Whole),
            ("bytes=-", Part::Whole),
        ] {
            assert_eq!(part(range, None), expected, "{range}");
        }
        assert_eq!(part("bytes=0-0", Some("\"t\"")), Part::Of(0, 1));
        assert_eq!(part("bytes=0-0", Some("\"u\"")), Part::Whole);
        assert_eq!(part("bytes=0-0", Some("W/\"t\"")), Part::Whole, "a weak tag proves no bytes");
        assert_eq!(Part::of("bytes=0-", 0), Some(Part::Beyond));
    }

    #[test]
    fn a_known_file_is_known_by_its_tag() {
        let tag = HeaderValue::from_static("\"t\"");
        let known = |value: &'static str| is_known(&HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(value))]), &tag);
        for yes in ["\"t\"", "W/\"t\"", "\"a\", \"t\"", "*"] {
            assert!(known(yes), "{yes}");
        }
        assert!(!known("\"u\"") && !known("t") && !known(""));
    }
}
