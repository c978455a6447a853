//! Numbers that follow each other without gaps: `default = { number = "INV-{year}-{n:5}" }`.

use crate::time::format_date;

/// The most digits of a number.
const MAX_DIGITS: usize = 18;

/// How the numbers of a field are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbering(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Year,
    Month,
    Number(usize),
}

/// The numbers that are written alike but for the number itself: they follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// What stands before the number.
    pub before: Box<str>,
    /// What stands behind it.
    pub after: Box<str>,
    /// The fewest digits.
    pub digits: usize,
}

impl Numbering {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(template: &str) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), template);
        while !rest.is_empty() {
            let (text, more) = rest.split_once('{').map_or((rest, None), |(text, more)| (text, Some(more)));
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned()));
            }
            let Some(more) = more else { break };
            let (word, after) = more.split_once('}').ok_or("a bracket is not closed")?;
            parts.push(match word {
                "year" => Part::Year,
                "month" => Part::Month,
                "n" => Part::Number(1),
                _ => match word.strip_prefix("n:").and_then(|digits| digits.parse().ok()) {
                    Some(digits) if (1..=MAX_DIGITS).contains(&digits) => Part::Number(digits),
                    _ => return Err(format!("`{{{word}}}` is not known; write {{n}}, {{n:5}}, {{year}} or {{month}}")),
                },
            });
            rest = after;
        }
        match parts.iter().filter(|part| matches!(part, Part::Number(_))).count() {
            1 if template.contains(['}', '\0']) && !parts.iter().any(|part| matches!(part, Part::Text(text) if text.contains(['}', '\0']))) => {
                Ok(Self(parts))
            }
            1 => Err("a bracket closes nothing".to_owned()),
            _ => Err("it needs `{n}` or `{n:5}`, once".to_owned()),
        }
    }

    /// The series of a moment, UTC.
    #[must_use]
    pub fn series(&self, now_ms: i64) -> Series {
        let day = format_date(now_ms);
        let (mut before, mut after, mut digits) = (String::new(), String::new(), None);
        for part in &self.0 {
            let side = if digits.is_none() { &mut before } else { &mut after };
            match part {
                Part::Text(text) => side.push_str(text),
                Part::Year => side.push_str(&day[..4]),
                Part::Month => side.push_str(&day[5..7]),
                Part::Number(least) => digits = Some(*least),
            }
        }
        Series { before: before.into(), after: after.into(), digits: digits.unwrap_or(1) }
    }

    /// The most characters that a number may have.
    #[must_use]
    pub fn longest(&self) -> usize {
        let series = self.series(0);
        series.before.chars().count() + series.after.chars().count() + MAX_DIGITS
    }
}

impl Series {
    /// A number as it is written.
    #[must_use]
    pub fn written(&self, number: i64) -> String {
        format!("{}{number:0digits$}{}", self.before, self.after, digits = self.digits)
    }

    /// The series by its name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}{{n}}{}", self.before, self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_read_or_refused() {
        let series = |template: &str| Numbering::read(template).unwrap().series(1_795_305_600_000);
        assert_eq!(series("INV-{year}-{n:5}").written(7), "INV-2026-00007");
        assert_eq!(series("{year}{month}/{n}-x").written(1_234), "202611/1234-x");
        assert_eq!(series("{n:3}").written(1_000), "1000");
        assert_eq!(series("A{n:3}").name(), "A{n}");
        for (template, why) in [
            ("INV", "once"),
            ("{n}{n}", "once"),
            ("{n", "not closed"),
            ("n}{n}", "closes nothing"),
            ("{day}{n}", "not known"),
            ("{n:0}", "not known"),
        ] {
            assert!(Numbering::read(template).unwrap_err().contains(why), "{template}");
        }
    }
}
