//! Values by chance: every type, with what files, doors and databases have trouble with.

pub(crate) fn id(at: usize) -> String {
    format!("01920000-0000-7000-8000-{at:012x}")
}

/// Every type, with defaults where null must not become one.
pub(crate) const TYPES: &str = r#"[fields]
text = { type = "text", default = "preset" }
fold = { type = "text", case = "fold" }
mail = { type = "email" }
link = { type = "url" }
uuid = { type = "uuid" }
word = { type = "enum", values = ["=x", "-", "a,b", "\"", "plain", "@"], default = "plain" }
int = { type = "int", default = 7 }
int64 = { type = "int64" }
price = { type = "decimal", precision = 18, scale = 4 }
ratio = { type = "float" }
flag = { type = "bool", default = true }
at = { type = "datetime", default = "now" }
day = { type = "date" }
data = { type = "json" }
texts = { type = "list", of = "text" }
ints = { type = "list", of = "int" }
flags = { type = "list", of = "bool" }
node = { type = "ref", to = "nodes" }
must = { type = "text", required = true, default = "x" }
"#;

/// A generator by a seed: the same values each time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }

    fn of<'t>(&mut self, these: &[&'t str]) -> &'t str {
        these[self.below(these.len())]
    }

    fn text(&mut self) -> String {
        let parts = [
            "\"", "=", "+", "-", "@", "\t", "\r", "\n", "\r\n", "'", ",", ";", " ", "é", "😀", "\u{feff}", "null", "true", "0", "007", "1e5",
            "\u{1}", "\u{2028}", "\\", "\\u0041", "a", "B", "{", "[", "한", "e\u{301}",
        ];
        (0..self.below(5)).map(|_| self.of(&parts)).collect()
    }

    fn json(&mut self, depth: usize) -> String {
        match self.below(if depth == 0 { 5 } else { 7 }) {
            0 => serde_json::to_string(&self.text()).unwrap(),
            1 => self.of(&["0", "-1", "1.5", "1e300", "123456789012345678901234567890", "-0", "1.0"]).to_owned(),
            2 => self.of(&["true", "false"]).to_owned(),
            3 => "\"\"".to_owned(),
            4 => "[]".to_owned(),
            5 => format!("[null,{}]", self.json(depth - 1)),
            _ => format!("{{{}:{},\"\":null}}", serde_json::to_string(&format!("k{}", self.text())).unwrap(), self.json(depth - 1)),
        }
    }

    /// A JSON value for a field, by its name.
    pub(crate) fn value(&mut self, field: &str) -> String {
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        let list = |items: Vec<String>| format!("[{}]", items.join(","));
        match field {
            "text" | "fold" | "must" => quoted(&self.text()),
            "mail" => quoted(self.of(&["a@example.com", "=x@example.com", "+1@example.com", "'@example.com", "-{}@example.com"])),
            "link" => quoted(self.of(&["https://example.com/", "http://example.com/a,b?c='\"x\"", "https://example.com/한"])),
            "uuid" => quoted(&id(self.below(99))),
            "word" => quoted(self.of(&["=x", "-", "a,b", "\"", "plain", "@"])),
            "int" => self.of(&["0", "-1", "9007199254740991", "-9007199254740991", "7"]).to_owned(),
            "int64" => quoted(self.of(&["0", "-9223372036854775808", "9223372036854775807", "-5"])),
            "price" => quoted(self.of(&["0", "-0.0001", "99999999999999.9999", "12.5"])),
            "ratio" => self.of(&["0", "-0.0", "0.1", "1.7976931348623157e308", "5e-324", "-1e-7", "123456789.123456789"]).to_owned(),
            "flag" => self.of(&["true", "false"]).to_owned(),
            "at" => quoted(self.of(&[
                "1970-01-01T00:00:00Z",
                "0001-01-01T00:00:00Z",
                "9999-12-31T23:59:59.999Z",
                "1969-12-31T23:59:59.999Z",
                "2026-11-22T10:00:00.001+09:00",
            ])),
            "day" => quoted(self.of(&["1970-01-01", "0001-01-01", "9999-12-31", "2024-02-29"])),
            "data" => self.json(2),
            "texts" => list((0..self.below(4)).map(|_| serde_json::to_string(&self.text()).unwrap()).collect()),
            "ints" => list((0..self.below(4)).map(|_| self.value("int")).collect()),
            "flags" => list((0..self.below(3)).map(|_| self.value("flag")).collect()),
            "node" => quoted(&id(self.below(3))),
            other => panic!("{other}"),
        }
    }
}
